#include "checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/atomic_file.h"
#include "checkpoint/test_files.h"

namespace csm::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<TensorView> ParseFile(const std::string& file) {
  return ParseSafetensors(std::as_bytes(std::span(file)), "f.safetensors");
}

std::string ErrorOfFile(const std::string& file) {
  const std::string message = MessageOf<FormatError>([&] { ParseFile(file); });
  EXPECT_THAT(message, HasSubstr("f.safetensors"));
  return message;
}

std::string ErrorOfHeader(const std::string& header, size_t data_size = 0) {
  return ErrorOfFile(Safetensors(header, std::string(data_size, 'x')));
}

std::string Entry(const std::string& fields) { return R"({"t":{)" + fields + "}}"; }

TEST(Safetensors, ReadsEveryType) {
  const std::vector<StoredTensor> stored = {
      {"b", "BF16", {2}, std::string(4, 'b')},
      {"a", "F32", {1, 2}, std::string(8, 'a')},
      {"h", "F16", {3}, std::string(6, 'h')},
      {"i", "I64", {}, std::string(8, 'i')},
      {"e", "F32", {0, 5}, ""},
      {"q", "F4", {2, 3}, std::string(3, 'q')},
  };
  const std::string file = Safetensors(stored);
  const std::vector<TensorView> tensors = ParseFile(file);
  ASSERT_EQ(tensors.size(), 6u);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].dtype, DType::kF32);
  EXPECT_THAT(tensors[0].shape, ElementsAre(1, 2));
  EXPECT_EQ(tensors[0].bytes.size(), 8u);
  EXPECT_EQ(static_cast<char>(tensors[0].bytes[0]), 'a');
  EXPECT_EQ(tensors[1].dtype, DType::kBF16);
  EXPECT_EQ(tensors[1].other_dtype, "");
  EXPECT_EQ(tensors[2].bytes.size(), 0u);
  EXPECT_EQ(tensors[3].dtype, DType::kF16);
  EXPECT_EQ(tensors[4].other_dtype, "I64");
  EXPECT_TRUE(tensors[4].shape.empty());
  EXPECT_EQ(tensors[5].other_dtype, "F4");
}

TEST(Safetensors, AcceptsMetadataPaddingAndNoTensors) {
  EXPECT_TRUE(ParseFile(Safetensors("{}", "")).empty());
  EXPECT_TRUE(ParseFile(Safetensors(R"({"__metadata__":{"format":"pt"}}   )", "")).empty());
  EXPECT_TRUE(ParseFile(Safetensors(R"({"__metadata__":null})", "")).empty());
}

TEST(Safetensors, RefusesABadFrame) {
  EXPECT_THAT(ErrorOfFile(""), HasSubstr("0 bytes long"));
  EXPECT_THAT(ErrorOfFile("1234567"), HasSubstr("7 bytes long"));
  EXPECT_THAT(ErrorOfFile(std::string(8, '\xff') + "{}"), HasSubstr("limit is 100000000"));
  EXPECT_THAT(ErrorOfFile(std::string("\x03\0\0\0\0\0\0\0{}", 10)), HasSubstr("truncated"));
  // Truncated in every possible place.
  const std::string whole = Safetensors({{"t", "F32", {2}, std::string(8, 'x')}});
  for (size_t size = 0; size < whole.size(); ++size) ErrorOfFile(whole.substr(0, size));
  EXPECT_THAT(ErrorOfFile(whole + "x"), HasSubstr("9 bytes of data, its tensors 8"));
}

TEST(Safetensors, RefusesBadJson) {
  for (const char* header : {"", "{", "x", "{} {}", R"({"a")", "{\"\xff\":1}", "{\"a\xc3\":{}}"}) {
    EXPECT_THAT(ErrorOfHeader(header), HasSubstr("not valid JSON")) << header;
  }
  EXPECT_THAT(ErrorOfHeader("\xEF\xBB\xBF{}"), HasSubstr("byte order mark"));
  EXPECT_THAT(ErrorOfHeader(std::string("{}\0", 3)), HasSubstr("zero byte"));
  EXPECT_THAT(ErrorOfHeader("[]"), HasSubstr("header is a list, expected an object"));
  EXPECT_THAT(ErrorOfHeader("3"), HasSubstr("header is an integer"));
  EXPECT_THAT(ErrorOfHeader(R"({"t":[]})"), HasSubstr("entry of \"t\" is a list"));
  EXPECT_THAT(ErrorOfHeader(R"({"__metadata__":{"a":{}}})"), HasSubstr("expected a string"));
  EXPECT_THAT(ErrorOfHeader(R"({"__metadata__":"pt"})"), HasSubstr("is a string, expected an obj"));
  // Ten million brackets end at the second, without recursion.
  EXPECT_THAT(ErrorOfHeader("{\"t\":{\"shape\":" + std::string(10'000'000, '[')),
              HasSubstr("holds a list"));
}

TEST(Safetensors, RefusesBadFields) {
  const std::string offsets = R"("data_offsets":[0,4])";
  const std::string rest = R"("dtype":"F32",)" + offsets;
  EXPECT_THAT(ErrorOfHeader(Entry(rest), 4), HasSubstr("\"t\" has no shape"));
  EXPECT_THAT(ErrorOfHeader(Entry(R"("dtype":"F32","shape":[1])"), 4), HasSubstr("data_offsets"));
  EXPECT_THAT(ErrorOfHeader(Entry(R"("shape":[1],)" + offsets), 4), HasSubstr("has no dtype"));
  for (const char* shape : {"[-1]", "[1.5]", "[\"1\"]", "[[1]]", "1", "null", "[true]", "{}"}) {
    EXPECT_THAT(ErrorOfHeader(Entry(R"("shape":)" + std::string(shape) + "," + rest), 4),
                HasSubstr("shape of tensor \"t\""))
        << shape;
  }
  for (const char* bad : {"[0]", "[0,4,8]", "[-4,0]", "[0,4.0]", "4", "[]", "[null,4]"}) {
    EXPECT_THAT(
        ErrorOfHeader(Entry(R"("dtype":"F32","shape":[1],"data_offsets":)" + std::string(bad)), 4),
        HasSubstr("data_offsets of tensor \"t\""))
        << bad;
  }
  EXPECT_THAT(ErrorOfHeader(Entry(R"("shape":[1],"dtype":7,)" + offsets), 4),
              HasSubstr("dtype of"));
  EXPECT_THAT(ErrorOfHeader(Entry(R"("shape":[1],"dtype":"F31",)" + offsets), 4),
              HasSubstr("unknown type F31"));
  EXPECT_THAT(ErrorOfHeader(Entry(R"("shape":[1],"x":1,)" + rest), 4),
              HasSubstr("unknown key \"x\""));
  EXPECT_THAT(ErrorOfHeader(Entry(R"("shape":[1],"shape":[1],)" + rest), 4),
              HasSubstr("two values of shape"));
}

TEST(Safetensors, RefusesSizesThatDisagreeOrOverflow) {
  const auto error = [](const char* dtype, const std::string& shape, size_t bytes) {
    return ErrorOfHeader(
        Entry(fmt::format(R"("dtype":"{}","shape":{},"data_offsets":[0,{}])", dtype, shape, bytes)),
        bytes);
  };
  EXPECT_THAT(error("F32", "[2]", 4), HasSubstr("of type F32 and shape [2] has 4 bytes"));
  EXPECT_THAT(error("F16", "[]", 4), HasSubstr("has 4 bytes"));
  EXPECT_THAT(error("F4", "[3]", 2), HasSubstr("has 2 bytes"));
  EXPECT_THAT(error("F32", "[4294967296,4294967296]", 0), HasSubstr("has 0 bytes"));
  EXPECT_THAT(error("F32", "[4611686018427387904]", 0), HasSubstr("has 0 bytes"));
  EXPECT_THAT(error("U8", "[18446744073709551615,0]", 0), HasSubstr("has 0 bytes"));
  EXPECT_THAT(error("U8", "[18446744073709551616]", 0), HasSubstr("holds a fraction"));
}

TEST(Safetensors, RefusesHolesOverlapsAndDuplicates) {
  const auto two = [](const char* first, const char* second, const char* name = "b") {
    return Safetensors(fmt::format(R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},)"
                                   R"("{}":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})",
                                   first, name, second),
                       std::string(8, 'x'));
  };
  EXPECT_EQ(ParseFile(two("[4,8]", "[0,4]")).size(), 2u);
  EXPECT_THAT(ErrorOfFile(two("[0,4]", "[5,9]")),
              HasSubstr("\"b\" are [5, 9], expected them to st"));
  EXPECT_THAT(ErrorOfFile(two("[0,4]", "[3,7]")), HasSubstr("expected them to start at 4"));
  EXPECT_THAT(ErrorOfFile(two("[0,4]", "[0,4]")), HasSubstr("expected them to start at 4"));
  EXPECT_THAT(ErrorOfFile(two("[0,4]", "[4,18446744073709551615]")), HasSubstr("truncated"));
  EXPECT_THAT(ErrorOfFile(two("[0,4]", "[4,0]")), HasSubstr("are [4, 0]"));
  EXPECT_THAT(ErrorOfFile(two("[0,4]", "[4,8]", "a")), HasSubstr("two tensors named \"a\""));
}

TEST(Safetensors, ShortensLongNamesInMessages) {
  std::string name;
  for (int i = 0; i < 100'000; ++i) name += "é";
  const std::string message = ErrorOfHeader("{\"" + name + "\":1}");
  EXPECT_LT(message.size(), 300u);
  EXPECT_THAT(message, HasSubstr("(200000 bytes)"));
}

TEST(Safetensors, ReadsAFileByName) {
  const TemporaryFolder dir;
  WriteText(dir / "f",
            Safetensors({{"b", "F32", {1}, FloatBytes({2})}, {"a", "F32", {1}, FloatBytes({1})}}));
  const SafetensorsFile file(dir / "f");
  EXPECT_THAT(file.Names(), ElementsAre("a", "b"));
  EXPECT_EQ(file.Find("c"), nullptr);
  const TensorView* tensor = file.Find("b");
  ASSERT_NE(tensor, nullptr);
  file.Release(*tensor);
  float value = 0;
  std::memcpy(&value, tensor->bytes.data(), 4);
  EXPECT_EQ(value, 2);
  EXPECT_THROW(SafetensorsFile(dir / "none"), FileError);
  EXPECT_THROW(SafetensorsFile(dir.path()), FileError);
}

TEST(WriteSafetensors, ConvertsAndRoundTrips) {
  const TemporaryFolder dir;
  // The flag makes what follows it unaligned.
  WriteText(dir / "in", Safetensors({{"flag", "BOOL", {3}, std::string("\1\0\1", 3)},
                                     {"x", "F32", {2, 2}, FloatBytes({1.5F, -2, 1e6F, 0.5F})},
                                     {"empty", "F32", {0}, ""}}));
  const SafetensorsFile in(dir / "in");
  const std::vector<TensorToWrite> tensors = {
      {in.Find("x"), DType::kF16}, {in.Find("flag"), DType::kF16}, {in.Find("empty"), DType::kF32}};
  WriteSafetensors(dir / "out", tensors, &in);

  const SafetensorsFile out(dir / "out");
  EXPECT_THAT(out.Names(), ElementsAre("empty", "flag", "x"));
  EXPECT_EQ(out.Find("flag")->other_dtype, "BOOL");
  EXPECT_EQ(static_cast<int>(out.Find("flag")->bytes[2]), 1);
  const TensorView* x = out.Find("x");
  EXPECT_EQ(x->dtype, DType::kF16);
  EXPECT_THAT(x->shape, ElementsAre(2, 2));
  uint16_t halves[4];
  ASSERT_EQ(x->bytes.size(), sizeof halves);
  std::memcpy(halves, x->bytes.data(), sizeof halves);
  EXPECT_THAT(halves, ElementsAre(0x3E00, 0xC000, 0x7C00, 0x3800));  // 1e6 overflows to infinity
  EXPECT_EQ(reinterpret_cast<uintptr_t>(x->bytes.data()) % 8, 0u);
  const std::string bytes = ReadFile(dir / "out");
  EXPECT_THAT(bytes, HasSubstr(R"({"__metadata__":{"format":"pt"},"x":)"));
}

TEST(WriteSafetensors, MetadataAndTensorsInMemory) {
  const TemporaryFolder dir;
  const int32_t values[] = {1, -2};
  const TensorView view{
      .name = "i", .shape = {2}, .bytes = std::as_bytes(std::span(values)), .other_dtype = "I32"};
  const std::vector<TensorToWrite> tensors = {{&view}};
  const SafetensorsMetadata metadata = {{"format", "mine"}, {"text", "\"\n\u00e9"}};
  WriteSafetensors(dir / "out", tensors, nullptr, metadata);
  SafetensorsMetadata read;
  const std::string bytes = ReadFile(dir / "out");
  const auto views = ParseSafetensors(std::as_bytes(std::span(bytes)), "out", &read);
  EXPECT_EQ(read, metadata);
  ASSERT_EQ(views.size(), 1u);
  EXPECT_EQ(std::memcmp(views[0].bytes.data(), values, sizeof values), 0);
}

TEST(WriteSafetensors, LeavesNothingBehindWhenItFails) {
  const TemporaryFolder dir;
  WriteText(dir / "in", Safetensors({{"x", "F32", {1}, FloatBytes({1})}}));
  const SafetensorsFile in(dir / "in");
  const std::vector<TensorToWrite> tensors = {{in.Find("x"), DType::kF32}};
  EXPECT_THROW(WriteSafetensors(dir / "none/out", tensors, &in), FileError);
  std::filesystem::create_directory(dir / "folder");
  EXPECT_THROW(WriteSafetensors(dir / "folder", tensors, &in), FileError);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 2);
}

}  // namespace
}  // namespace csm::checkpoint
