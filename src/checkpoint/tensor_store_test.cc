#include "checkpoint/tensor_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/test_files.h"

namespace csm::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string One(const std::string& name, float value = 1) {
  return Safetensors({{name, "F32", {1}, FloatBytes({value})}});
}

// As published beside transformers' shards: heads in one bare tensor.
std::string Sesame() {
  return Safetensors({{"audio_head", "F32", {1}, FloatBytes({1})},
                      {"codebook0_head.weight", "F32", {1}, FloatBytes({1})}});
}

float First(const TensorView* tensor) {
  float value = 0;
  std::memcpy(&value, tensor->bytes.data(), sizeof value);
  return value;
}

TEST(OpenTensors, ReadsOneFile) {
  const TemporaryFolder dir;
  WriteText(dir / "model.safetensors", One("a"));
  EXPECT_THAT(OpenTensors(dir.path())->Names(), ElementsAre("a"));
}

TEST(OpenTensors, ReadsShards) {
  const TemporaryFolder dir;
  WriteText(dir / "1.safetensors", One("b", 2));
  WriteText(dir / "2.safetensors", One("a", 3));
  WriteText(
      dir / "model.safetensors.index.json",
      R"({"metadata":{"total_size":8},"weight_map":{"a":"2.safetensors","b":"1.safetensors"}})");
  const auto store = OpenTensors(dir.path());
  EXPECT_THAT(store->Names(), ElementsAre("a", "b"));
  EXPECT_EQ(First(store->Find("a")), 3);
  EXPECT_EQ(First(store->Find("b")), 2);
  EXPECT_EQ(store->Find("c"), nullptr);
  store->Release(*store->Find("a"));
  EXPECT_EQ(First(store->Find("a")), 3);
}

TEST(OpenTensors, FollowsTheConfig) {
  const TemporaryFolder dir;
  WriteText(dir / "model.safetensors", Sesame());
  WriteText(dir / "t-1.safetensors", One("a"));
  WriteText(dir / "transformers.safetensors.index.json",
            R"({"weight_map":{"a":"t-1.safetensors"}})");
  // Without the key, too: Sesame's file is passed over.
  EXPECT_THAT(OpenTensors(dir.path())->Names(), ElementsAre("a"));
  WriteText(dir / "config.json",
            R"({"transformers_weights":"transformers.safetensors.index.json"})");
  EXPECT_THAT(OpenTensors(dir.path())->Names(), ElementsAre("a"));
  WriteText(dir / "config.json", R"({"transformers_weights":"t-1.safetensors"})");
  EXPECT_THAT(OpenTensors(dir.path())->Names(), ElementsAre("a"));
  WriteText(dir / "config.json", R"({"transformers_weights":"none.safetensors"})");
  EXPECT_THROW(OpenTensors(dir.path()), FileError);
}

TEST(OpenTensors, SaysThatAFileIsSesames) {
  const TemporaryFolder dir;
  WriteText(dir / "model.safetensors", Sesame());
  EXPECT_THAT(MessageOf<FormatError>([&] { OpenTensors(dir.path()); }),
              HasSubstr("Sesame's original layout"));
}

TEST(OpenTensors, SaysWhatIsMissing) {
  const TemporaryFolder dir;
  const auto message = [&] { return MessageOf<FileError>([&] { OpenTensors(dir.path()); }); };
  EXPECT_THAT(message(), HasSubstr("has no weights"));
  WriteText(dir / "pytorch_model.bin", "x");
  EXPECT_THAT(message(), HasSubstr("pytorch_model.bin"));
  EXPECT_THAT(MessageOf<FileError>([&] { OpenTensors(dir / "none"); }), HasSubstr("not a folder"));
}

TEST(OpenTensors, StaysInsideTheFolder) {
  const TemporaryFolder dir;
  for (const char* name : {"../x", "/etc/passwd", "a/../../x", ""}) {
    WriteText(dir / "config.json", fmt::format(R"({{"transformers_weights":"{}"}})", name));
    EXPECT_THAT(MessageOf<FormatError>([&] { OpenTensors(dir.path()); }),
                HasSubstr("inside its own folder"));
    WriteText(dir / "config.json", "{}");
    WriteText(dir / "model.safetensors.index.json",
              fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", name));
    EXPECT_THAT(MessageOf<FormatError>([&] { OpenTensors(dir.path()); }),
                HasSubstr("inside its own folder"));
  }
  WriteText(dir / "config.json", R"({"transformers_weights":["x"]})");
  EXPECT_THAT(MessageOf<FormatError>([&] { OpenTensors(dir.path()); }),
              HasSubstr("is a list, expected a file name"));
}

TEST(OpenTensors, RefusesAnIndexThatIsWrong) {
  const TemporaryFolder dir;
  WriteText(dir / "1.safetensors", One("a"));
  WriteText(dir / "2.safetensors",
            Safetensors({{"a", "F32", {1}, FloatBytes({1})}, {"b", "F32", {1}, FloatBytes({1})}}));
  const auto message = [&](const char* index) {
    WriteText(dir / "model.safetensors.index.json", index);
    return MessageOf<FormatError>([&] { OpenTensors(dir.path()); });
  };
  EXPECT_THAT(message("[]"), HasSubstr("a list, expected an object"));
  EXPECT_THAT(message("{}"), HasSubstr("weight_map"));
  EXPECT_THAT(message(R"({"weight_map":[]})"), HasSubstr("weight_map"));
  EXPECT_THAT(message(R"({"weight_map":{"a":1}})"), HasSubstr("expected a file name"));
  EXPECT_THAT(message(R"({"weight_map":{"c":"1.safetensors"}})"), HasSubstr("but it is not"));
  EXPECT_THAT(message(R"({"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})"),
              HasSubstr("is in both"));
}

}  // namespace
}  // namespace csm::checkpoint
