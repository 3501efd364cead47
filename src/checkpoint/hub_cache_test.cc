#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>

#include "checkpoint/model_dir.h"
#include "checkpoint/test_files.h"

namespace csm::checkpoint {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kVariables[] = {"HOME", "XDG_CACHE_HOME", "HF_HOME", "HUGGINGFACE_HUB_CACHE",
                                      "HF_HUB_CACHE"};

// Runs in an environment where only HOME is set, to a folder of the test's own.
class HubCacheTest : public ::testing::Test {
 protected:
  HubCacheTest() {
    for (const char* name : kVariables) {
      const char* value = std::getenv(name);
      saved_[name] = value == nullptr ? std::nullopt : std::optional<std::string>(value);
      unsetenv(name);
    }
    setenv("HOME", home_.path().c_str(), 1);
  }
  ~HubCacheTest() override {
    for (const auto& [name, value] : saved_) {
      value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
    }
  }
  // A download of `id` in the cache at `cache`, its only file naming it.
  std::filesystem::path Download(const std::string& cache, const std::string& folder) {
    const auto repository = home_ / cache / folder;
    const auto snapshot = repository / "snapshots/abc123";
    std::filesystem::create_directories(snapshot);
    std::filesystem::create_directories(repository / "refs");
    WriteText(repository / "refs/main", "abc123");
    return snapshot;
  }
  TemporaryFolder home_;
  std::map<std::string, std::optional<std::string>> saved_;
};

TEST_F(HubCacheTest, APathIsItself) {
  EXPECT_EQ(ResolveModelDir(home_.path().string()), home_.path());
  WriteText(home_ / "f", "x");
  EXPECT_THAT(MessageOf<FileError>([&] { ResolveModelDir((home_ / "f").string()); }),
              HasSubstr("is a file"));
}

TEST_F(HubCacheTest, NamesOfModels) {
  const auto snapshot = Download(".cache/huggingface/hub", "models--sesame--csm-1b");
  EXPECT_EQ(ModelName(snapshot), "sesame/csm-1b");
  EXPECT_EQ(ModelName("/a/models--gpt2/snapshots/abc/"), "gpt2");
  EXPECT_EQ(ModelName("/a/b"), "b");
  EXPECT_EQ(ModelName("/a/b/"), "b");
  EXPECT_EQ(ModelName("/a/b/."), "b");
  EXPECT_EQ(ModelName("/a/m.gguf"), "m.gguf");
  EXPECT_EQ(ModelName("."), std::filesystem::current_path().filename());
  EXPECT_EQ(ModelName("/"), "");
}

TEST_F(HubCacheTest, FindsTheCacheWhereHuggingfaceHubDoes) {
  const auto by_home = Download(".cache/huggingface/hub", "models--sesame--csm-1b");
  EXPECT_EQ(ResolveModelDir("sesame/csm-1b"), by_home);
  const auto by_xdg = Download("xdg/huggingface/hub", "models--sesame--csm-1b");
  setenv("XDG_CACHE_HOME", (home_ / "xdg").c_str(), 1);
  EXPECT_EQ(ResolveModelDir("sesame/csm-1b"), by_xdg);
  const auto by_hf_home = Download("hf/hub", "models--sesame--csm-1b");
  setenv("HF_HOME", "~/hf", 1);
  EXPECT_EQ(ResolveModelDir("sesame/csm-1b"), by_hf_home);
  const auto by_legacy = Download("legacy", "models--sesame--csm-1b");
  setenv("HUGGINGFACE_HUB_CACHE", (home_ / "legacy").c_str(), 1);
  EXPECT_EQ(ResolveModelDir("sesame/csm-1b"), by_legacy);
  const auto by_cache = Download("cache", "models--sesame--csm-1b");
  setenv("HF_HUB_CACHE", "${HOME}/cache", 1);
  EXPECT_EQ(ResolveModelDir("sesame/csm-1b"), by_cache);
  const auto no_organization = Download("cache", "models--gpt2");
  setenv("HF_HUB_CACHE", "$HOME/cache", 1);
  EXPECT_EQ(ResolveModelDir("gpt2"), no_organization);
}

TEST_F(HubCacheTest, SaysWhereItLooked) {
  EXPECT_THAT(MessageOf<FileError>([] { ResolveModelDir("sesame/csm-1b"); }),
              AllOf(HasSubstr(home_.path().string()), HasSubstr("models--sesame--csm-1b")));
  for (const char* name : {"/no/such/folder", "a/b/c", "../x", "a--b", "", "a b", "-a"}) {
    EXPECT_THAT(MessageOf<FileError>([&] { ResolveModelDir(name); }),
                HasSubstr("there is no folder"))
        << name;
  }
}

TEST_F(HubCacheTest, NeedsASnapshotAndAHash) {
  const auto snapshot = Download(".cache/huggingface/hub", "models--m");
  const auto ref = snapshot.parent_path().parent_path() / "refs/main";
  WriteText(ref, "../../../../..");
  EXPECT_THAT(MessageOf<FormatError>([] { ResolveModelDir("m"); }), HasSubstr("commit's hash"));
  WriteText(ref, "def456");
  EXPECT_THAT(MessageOf<FileError>([] { ResolveModelDir("m"); }), HasSubstr("no model"));
}

}  // namespace
}  // namespace csm::checkpoint
