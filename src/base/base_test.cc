#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <thread>
#include <vector>

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/library_folder.h"
#include "base/mapped_file.h"
#include "base/philox.h"
#include "base/temporary_folder.h"
#include "base/thread_pool.h"
#include "csm/csm.hpp"

namespace csm {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

class FilesTest : public ::testing::Test {
 protected:
  size_t NumFiles() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(dir_), {}));
  }
  TemporaryFolder folder_;
  const fs::path dir_ = folder_.path();
};

// Known answers of the Philox4x32-10 reference implementation (Random123, kat_vectors).
TEST(Philox, KnownAnswers) {
  EXPECT_THAT(Philox4x32(0, {0, 0, 0, 0}),
              testing::ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(Philox4x32(~uint64_t{0}, {~0U, ~0U, ~0U, ~0U}),
              testing::ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(Philox4x32(0x299f31d0a4093822, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
              testing::ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(Philox, UniformIsUniform) {
  // Mean 1/2 and variance 1/12 within five standard errors, along every coordinate of the key.
  constexpr int kDraws = 100000;
  for (int axis = 0; axis < 4; ++axis) {
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < kDraws; ++i) {
      std::array<uint64_t, 4> key = {7, 1, 2, 3};
      key[static_cast<size_t>(axis)] = i;
      const double u = UniformAt(key[0], key[1], key[2], key[3]);
      ASSERT_GE(u, 0);
      ASSERT_LT(u, 1);
      sum += u;
      squares += u * u;
    }
    const double mean = sum / kDraws;
    EXPECT_NEAR(mean, 0.5, 5 / std::sqrt(12.0 * kDraws)) << "axis " << axis;
    EXPECT_NEAR(squares / kDraws - mean * mean, 1.0 / 12, 5 * 0.0745 / std::sqrt(kDraws));
  }
}

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    for (const size_t num_tasks : {0, 1, 2, 5, 100, 1000}) {
      std::vector<std::atomic<int>> counts(num_tasks);
      pool.ParallelFor(num_tasks, [&](size_t i) { counts[i].fetch_add(1); });
      for (const auto& count : counts) EXPECT_EQ(count.load(), 1);
    }
  }
}

TEST(ThreadPool, WorksAfterItsWorkersFellAsleep) {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int> sum{0};
    pool.ParallelFor(50, [&](size_t i) { sum.fetch_add(static_cast<int>(i)); });
    EXPECT_EQ(sum.load(), 49 * 50 / 2);
  }
}

TEST(ThreadPool, ServesSeveralCallersAndNestedCalls) {
  ThreadPool pool(2);
  std::vector<std::thread> callers;
  std::vector<int64_t> sums(4);
  for (size_t c = 0; c < sums.size(); ++c) {
    callers.emplace_back([&, c] {
      for (int round = 0; round < 200; ++round) {
        std::atomic<int64_t> sum{0};
        pool.ParallelFor(10, [&](size_t i) {
          pool.ParallelFor(3, [&](size_t j) { sum.fetch_add(static_cast<int64_t>(i * j)); });
        });
        sums[c] += sum.load();
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const int64_t sum : sums) EXPECT_EQ(sum, 200 * 45 * 3);
}

TEST_F(FilesTest, AtomicFileAppearsOnCommitOnly) {
  const fs::path target = dir_ / "out.wav";
  {
    AtomicFile file(target);
    std::ofstream(file.path()) << "half";
    EXPECT_EQ(file.path().extension(), ".wav");
    EXPECT_FALSE(fs::exists(target));
  }
  EXPECT_EQ(NumFiles(), 0U);
  WriteFileAtomically(target, "whole");
  EXPECT_EQ(ReadFile(target), "whole");
  EXPECT_EQ(NumFiles(), 1U);
  const mode_t mask = umask(0);
  umask(mask);
  struct stat info {};
  ASSERT_EQ(stat(target.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0666 & ~mask);
}

TEST_F(FilesTest, LinksAreFollowedAndDevicesWritten) {
  fs::create_symlink("real", dir_ / "link");
  fs::create_symlink(dir_ / "link", dir_ / "chain");
  for (const char* content : {"new", "replaced"}) {
    WriteFileAtomically(dir_ / "chain", content);
    EXPECT_TRUE(fs::is_symlink(dir_ / "chain"));
    EXPECT_EQ(ReadFile(dir_ / "real"), content);
  }
  EXPECT_EQ(NumFiles(), 3U);
  WriteFileAtomically("/dev/null", "gone");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(FilesTest, UnwritableTargetsAreErrors) {
  EXPECT_THROW(AtomicFile(dir_ / "no_such_folder" / "x"), FileError);
  EXPECT_THROW(AtomicFile{dir_}, FileError);
}

TEST_F(FilesTest, FoldersAreReplacedWholeOrNotAtAll) {
  const auto dir = dir_ / "folder";
  const auto write = [](const char* name) {
    return [name](const std::filesystem::path& to) {
      std::filesystem::create_directory(to);
      WriteFileAtomically(to / name, "x");
    };
  };
  const auto names = [&](const std::filesystem::path& folder) {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      found.push_back(entry.path().filename().string());
    }
    return found;
  };
  for (const char* neighbour : {"folder.old", "folder.partial"}) write("x")(dir_ / neighbour);
  ReplaceFolder(dir, write("a"));
  EXPECT_THAT(names(dir), ElementsAre("a"));
  ReplaceFolder(dir / "", write("b"));  // "folder/"
  EXPECT_THAT(names(dir), ElementsAre("b"));
  EXPECT_THROW(ReplaceFolder(dir,
                             [&](const std::filesystem::path& to) {
                               write("c")(to);
                               throw FileError("full");
                             }),
               FileError);
  EXPECT_THAT(names(dir), ElementsAre("b"));
  std::filesystem::create_directory_symlink(dir, dir_ / "link");
  ReplaceFolder(dir_ / "link", write("d"));
  EXPECT_THAT(names(dir), ElementsAre("d"));
  std::filesystem::create_directory(dir_ / "empty");
  ReplaceFolder(dir_ / "empty", write("e"));
  EXPECT_THAT(names(dir_ / "empty"), ElementsAre("e"));
  EXPECT_THAT(names(dir_),
              UnorderedElementsAre("folder", "folder.old", "folder.partial", "link", "empty"));
}

TEST_F(FilesTest, ReadFileLimitsSize) {
  WriteFileAtomically(dir_ / "f", std::string(200000, 'x'));
  EXPECT_EQ(ReadFile(dir_ / "f").size(), 200000U);
  EXPECT_THROW(ReadFile(dir_ / "f", 1000), FormatError);
  EXPECT_THROW(ReadFile(dir_ / "missing"), FileError);
  EXPECT_THROW(ReadFile(dir_), FileError);
}

TEST_F(FilesTest, MappedFile) {
  WriteFileAtomically(dir_ / "f", std::string(100000, 'x'));
  const MappedFile file(dir_ / "f");
  EXPECT_EQ(file.bytes().size(), 100000U);
  file.Release(file.bytes());
  EXPECT_EQ(file.bytes()[99999], std::byte{'x'});
  WriteFileAtomically(dir_ / "empty", "");
  EXPECT_TRUE(MappedFile(dir_ / "empty").bytes().empty());
  EXPECT_THROW(MappedFile{dir_}, FileError);
  EXPECT_THROW(MappedFile(dir_ / "missing"), FileError);
}

std::string MessageOf(std::string_view json) {
  try {
    ParseJson(json, "here.json");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "";
}

TEST(LibraryFolder, OfThisProgram) {
  static const int here = 0;
  EXPECT_EQ(LibraryFolder(&here), fs::read_symlink("/proc/self/exe").parent_path());
  EXPECT_EQ(LibraryFolder(nullptr), "");
}

TEST(Json, NamesTheSource) {
  EXPECT_EQ(ParseJson(R"({"b": [1, 2], "a": null})", "x").dump(), R"({"b":[1,2],"a":null})");
  EXPECT_THAT(MessageOf("{\"a\": }"), HasSubstr("here.json is not valid JSON"));
  EXPECT_THAT(MessageOf("{\"a\": \"\xff\"}"), HasSubstr("here.json is not valid JSON"));
  EXPECT_THAT(MessageOf(""), HasSubstr("here.json"));
  EXPECT_THAT(MessageOf(std::string(1000000, '[')), HasSubstr("nested more than 100"));
}

TEST(Json, HostileSizesCostLittle) {
  std::string keys = "{";
  for (int i = 0; i < 20000; ++i) keys += fmt::format("\"{}\":0,", i);
  EXPECT_THAT(MessageOf(keys), HasSubstr("here.json has an object with more than 10000 keys"));
  // A walk over the list for each of its elements would take a minute.
  std::string list = "[";
  for (int i = 0; i < 300000; ++i) list += "{},";
  EXPECT_EQ(ParseJson(list + "{}]", "x").size(), 300001u);
  EXPECT_THROW(ParseJson(R"({"a": 1, "b": 2})", "x", 1), FormatError);
  EXPECT_EQ(ParseJson(R"([{"a": 1}, {"b": 2}])", "x", 1).size(), 2u);
}

}  // namespace
}  // namespace csm
