#include "checkpoint/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "base/atomic_file.h"
#include "checkpoint/quantize_checkpoint.h"
#include "checkpoint/test_files.h"
#include "kernels/packed.h"

namespace csm::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

GgufTensor Tensor(const std::string& name, std::vector<int64_t> shape, DType dtype,
                  const std::string& bytes) {
  return {name, std::move(shape), dtype, bytes.size(), [bytes](const auto& sink) {
            const auto all = std::as_bytes(std::span(bytes));
            sink(all.first(all.size() / 2));
            sink(all.subspan(all.size() / 2));
          }};
}

std::string Sample() {
  const TemporaryFolder dir;
  const std::string block(34, 'q');
  const std::vector<GgufTensor> tensors = {
      Tensor("vector", {3}, DType::kF32, FloatBytes({1, 2, 3})),
      Tensor("matrix", {2, 32}, DType::kQ8_0, block + block),
  };
  WriteGguf(dir / "a.gguf", {{"general.architecture", "csm"}, {"empty", ""}}, tensors);
  return ReadFile(dir / "a.gguf");
}

GgufContent ParseBytes(const std::string& bytes) {
  return ParseGguf(std::as_bytes(std::span(bytes)), "a.gguf");
}

std::string ErrorOf(const std::string& bytes) {
  return MessageOf<FormatError>([&] { ParseBytes(bytes); });
}

TEST(Gguf, ReadsWhatItWrites) {
  const std::string bytes = Sample();
  const GgufContent content = ParseBytes(bytes);
  EXPECT_EQ(content.strings.at("general.architecture"), "csm");
  EXPECT_EQ(content.strings.at("empty"), "");
  ASSERT_EQ(content.tensors.size(), 2U);
  const TensorView& matrix = content.tensors[0];
  EXPECT_EQ(matrix.name, "matrix");
  EXPECT_EQ(matrix.dtype, DType::kQ8_0);
  EXPECT_THAT(matrix.shape, ElementsAre(2, 32));
  EXPECT_EQ(matrix.bytes.size(), 68U);
  EXPECT_EQ(matrix.bytes[67], std::byte{'q'});
  const TensorView& vector = content.tensors[1];
  float values[3];
  ASSERT_EQ(vector.bytes.size(), sizeof values);
  std::memcpy(values, vector.bytes.data(), sizeof values);
  EXPECT_THAT(values, ElementsAre(1, 2, 3));
  for (const TensorView& tensor : content.tensors) {
    EXPECT_EQ((tensor.bytes.data() - std::as_bytes(std::span(bytes)).data()) % 64, 0);
  }
}

TEST(Gguf, EveryTruncationIsASentence) {
  const std::string bytes = Sample();
  // The last tensor's padding may be missing; nothing before it may.
  const size_t end = bytes.find_last_of('q') + 1;
  for (size_t size = 0; size < end; ++size) {
    EXPECT_THAT(ErrorOf(bytes.substr(0, size)), HasSubstr("a.gguf")) << size;
  }
  EXPECT_NO_THROW(ParseBytes(bytes.substr(0, end)));
}

TEST(Gguf, RefusesWhatItIsNot) {
  std::string bytes = Sample();
  EXPECT_THAT(ErrorOf("GGML" + bytes.substr(4)), HasSubstr("not a GGUF file"));
  std::string version = bytes;
  version[4] = 2;
  EXPECT_THAT(ErrorOf(version), HasSubstr("GGUF version 2, expected 3"));
  std::string twin = bytes;
  twin.replace(twin.find("vector"), 6, "matrix");
  EXPECT_THAT(ErrorOf(twin), HasSubstr("two tensors named \"matrix\""));
  const TemporaryFolder dir;
  WriteGguf(dir / "b.gguf", {{"empty", ""}, {"other", ""}}, {});
  std::string key = ReadFile(dir / "b.gguf");
  key.replace(key.find("other"), 5, "empty");
  EXPECT_THAT(ErrorOf(key), HasSubstr("the key \"empty\" twice"));
  std::string alignment = bytes;
  alignment[alignment.find("general.alignment") + 17 + 4] = 63;
  EXPECT_THAT(ErrorOf(alignment), HasSubstr("power of two"));
  std::string count = bytes;
  count[8 + 7] = 0x7F;  // 2^62 tensors
  EXPECT_THAT(ErrorOf(count), HasSubstr("truncated"));
}

TEST(Gguf, RefusesTensorsThatDoNotFit) {
  const std::string bytes = Sample();
  const size_t dims = bytes.find("matrix") + 6 + 4;  // 32, then 2
  std::string odd = bytes;
  odd[dims] = 33;
  EXPECT_THAT(ErrorOf(odd), HasSubstr("have 33 weights, expected a multiple of 32"));
  std::string huge = bytes;
  huge[dims + 8 + 6] = 0x7F;
  EXPECT_THAT(ErrorOf(huge), ::testing::AnyOf(HasSubstr("too large"), HasSubstr("truncated")));
  std::string same = bytes;  // both at one place
  const size_t other = bytes.find("vector") + 6 + 4 + 8 + 4;
  same.replace(other, 8, bytes.substr(dims + 2 * 8 + 4, 8));
  EXPECT_THAT(ErrorOf(same), HasSubstr("overlap"));
  std::string unknown = bytes;
  unknown[dims + 16] = 12;  // Q4_K
  EXPECT_EQ(ParseBytes(unknown).tensors[0].other_dtype, "ggml type 12");
}

TEST(Gguf, AQuantizedCheckpointIsAModel) {
  const TemporaryFolder dir;
  CsmConfig config = TinyConfig();
  config.hidden_size = 32;  // divides into blocks; the depth decoder's 6 do not
  config.depth_decoder_config.backbone_hidden_size = 32;
  WriteCheckpoint(dir.path(), ToJson(config), TensorsOf(config));
  const CsmCheckpoint original = OpenCsmCheckpoint(dir.path());
  ThreadPool pool(2);
  int64_t last = 0, all = -1;
  const auto tensors =
      QuantizeCheckpoint(original, DType::kQ8_0, dir / "m.gguf", pool, [&](int64_t d, int64_t n) {
        EXPECT_GE(d, last);
        last = d;
        all = n;
      });
  EXPECT_EQ(last, all);
  const CsmCheckpoint quantized = OpenCsmCheckpoint(dir / "m.gguf");
  EXPECT_EQ(quantized.config, config);
  int num_quantized = 0, num_wide = 0, num_half = 0;
  for (const QuantizedTensor& tensor : tensors) {
    const TensorView* view = quantized.tensors->Find(tensor.name);
    ASSERT_NE(view, nullptr) << tensor.name;
    EXPECT_EQ(view->dtype, tensor.dtype);
    EXPECT_EQ(std::ssize(view->bytes), tensor.num_bytes);
    const bool is_codec = tensor.name.starts_with("codec_model.");
    const bool is_decoder = tensor.name.starts_with("codec_model.decoder") ||
                            tensor.name.starts_with("codec_model.upsample");
    if (is_codec || view->shape.size() == 1) {
      const bool is_half = is_decoder && view->shape.size() > 1;
      EXPECT_EQ(tensor.dtype, is_half ? DType::kF16 : DType::kF32) << tensor.name;
      num_half += is_half ? 1 : 0;
    }
    if (tensor.dtype == DType::kF32) {
      EXPECT_EQ(tensor.relative_error, 0) << tensor.name;
    } else {
      EXPECT_LT(tensor.relative_error, 0.01) << tensor.name;
    }
    num_quantized += tensor.dtype == DType::kQ8_0 ? 1 : 0;
    num_wide += tensor.stays_wide ? 1 : 0;
  }
  EXPECT_GT(num_quantized, 5);
  EXPECT_GT(num_wide, 5);
  EXPECT_GT(num_half, 5);
  EXPECT_EQ(quantized.tensors->Find(kCodebooksHead)->shape,
            (std::vector<int64_t>{2, config.vocab_size, 6}));
  EXPECT_THAT(MessageOf<ArgumentError>([&] {
                QuantizeCheckpoint(quantized, DType::kQ4, dir / "n.gguf", pool, [](auto, auto) {});
              }),
              HasSubstr("already"));
  EXPECT_THAT(MessageOf<ArgumentError>([&] { SaveCsmCheckpoint(quantized, dir / "saved"); }),
              HasSubstr("GGUF"));
}

TEST(Gguf, AFailedWriteLeavesNoFile) {
  const TemporaryFolder dir;
  const GgufTensor bad{"x", {1}, DType::kF32, 4, [](const auto&) { throw FileError("mine"); }};
  EXPECT_THROW(WriteGguf(dir / "a.gguf", {}, {&bad, 1}), FileError);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

}  // namespace
}  // namespace csm::checkpoint
