#include "checkpoint/weight_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <numeric>

#include "checkpoint/safetensors.h"
#include "checkpoint/test_files.h"
#include "kernels/elementwise.h"
#include "kernels/packed.h"

namespace csm::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Bf16Bytes(const std::vector<float>& values) {
  std::string bytes;
  for (const float value : values) {
    const auto bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
    bytes += static_cast<char>(bits & 0xFF);
    bytes += static_cast<char>(bits >> 8);
  }
  return bytes;
}

std::vector<float> Values(const kernels::PackedMatrix& matrix) {
  EXPECT_EQ(reinterpret_cast<uintptr_t>(matrix.data) % 64, 0u);
  std::vector<float> values(matrix.rows * matrix.cols);
  for (size_t row = 0; row < matrix.rows; ++row) {
    kernels::UnpackRow(matrix, row, values.data() + row * matrix.cols);
  }
  return values;
}

std::vector<float> Values(const kernels::MatrixView& table) {
  std::vector<float> values(table.rows * table.cols);
  for (size_t row = 0; row < table.rows; ++row) {
    kernels::LoadRow(table, row, values.data() + row * table.cols);
  }
  return values;
}

class WeightLoaderTest : public ::testing::Test {
 protected:
  // `shift` bytes before the tensors move them off their alignment.
  std::shared_ptr<const TensorStore> Store(size_t shift = 0) {
    WriteText(dir_ / "f",
              Safetensors(
                  {{"shift", "U8", {static_cast<int64_t>(shift)}, std::string(shift, 's')},
                   {"matrix", "F32", {2, 3}, FloatBytes({1, 2, 3, 4, 5, 6})},
                   {"half", "BF16", {2, 2}, Bf16Bytes({1, -2, 3, 0.5F})},
                   {"heads", "F32", {2, 3, 2}, FloatBytes({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})},
                   {"vector", "BF16", {3}, Bf16Bytes({1, 2, -3})},
                   {"long", "I64", {1}, std::string(8, 'x')}}));
    return std::make_shared<SafetensorsFile>(dir_ / "f");
  }
  TemporaryFolder dir_;
};

TEST_F(WeightLoaderTest, MapsTablesStoredAsAsked) {
  const auto store = Store();
  for (const std::optional<DType> dtype : {std::optional<DType>(), std::optional(DType::kF32)}) {
    WeightLoader loader(store, dtype);
    // The header of these files does not promise alignment; if it is there, nothing is copied.
    const kernels::MatrixView matrix = loader.Table("matrix", 2, 3);
    EXPECT_EQ(loader.Table("matrix", 2, 3).data, matrix.data);
    EXPECT_THAT(Values(matrix), ElementsAre(1, 2, 3, 4, 5, 6));
    const TensorView* tensor = store->Find("matrix");
    const bool aligned = reinterpret_cast<uintptr_t>(tensor->bytes.data()) % 4 == 0;
    EXPECT_EQ(matrix.data == tensor->bytes.data(), aligned);
  }
}

TEST_F(WeightLoaderTest, CopiesOrConvertsAtAnyAlignment) {
  for (size_t shift = 0; shift < 8; ++shift) {
    WeightLoader as_stored(Store(shift));
    EXPECT_THAT(Values(as_stored.Matrix("matrix", 2, 3)), ElementsAre(1, 2, 3, 4, 5, 6));
    EXPECT_THAT(Values(as_stored.Matrix("half", 2, 2)), ElementsAre(1, -2, 3, 0.5F));
    EXPECT_THAT(as_stored.Vector("vector", 3), ElementsAre(1, 2, -3));

    WeightLoader converted(Store(shift), DType::kBF16);
    EXPECT_THAT(Values(converted.Table("matrix", 2, 3)), ElementsAre(1, 2, 3, 4, 5, 6));
    const kernels::PackedMatrix matrix = converted.Matrix("matrix", 2, 3);
    EXPECT_EQ(matrix.dtype, DType::kBF16);
    EXPECT_EQ(matrix.rows, 2u);
    EXPECT_EQ(matrix.cols, 3u);
    EXPECT_THAT(Values(matrix), ElementsAre(1, 2, 3, 4, 5, 6));
    EXPECT_THAT(converted.Floats("half", std::array<int64_t, 2>{2, 2}),
                ElementsAre(1, -2, 3, 0.5F));
  }
}

TEST_F(WeightLoaderTest, TransposesHeads) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    WeightLoader loader(Store(1), dtype);
    const auto heads = loader.Heads("heads", 2, 2, 3);
    ASSERT_EQ(heads.size(), 2u);
    EXPECT_EQ(heads[1].dtype, dtype);
    EXPECT_EQ(heads[1].rows, 2u);
    EXPECT_EQ(heads[1].cols, 3u);
    EXPECT_THAT(Values(heads[0]), ElementsAre(1, 3, 5, 2, 4, 6));
    EXPECT_THAT(Values(heads[1]), ElementsAre(7, 9, 11, 8, 10, 12));
  }
}

TEST_F(WeightLoaderTest, TransposesBeyondOneBlock) {
  constexpr int64_t kRows = 37;
  constexpr int64_t kCols = 18;
  std::vector<float> values(kRows * kCols);
  std::iota(values.begin(), values.end(), 0.0F);
  WriteText(dir_ / "big", Safetensors({{"heads", "F32", {1, kCols, kRows}, FloatBytes(values)}}));
  WeightLoader loader(std::make_shared<SafetensorsFile>(dir_ / "big"));
  const auto heads = loader.Heads("heads", 1, kRows, kCols);
  const std::vector<float> transposed = Values(heads[0]);
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t c = 0; c < kCols; ++c) {
      ASSERT_EQ(transposed[static_cast<size_t>(r * kCols + c)],
                values[static_cast<size_t>(c * kRows + r)]);
    }
  }
}

TEST_F(WeightLoaderTest, ConvertsMoreThanOneChunk) {
  // 9 million values are three chunks.
  constexpr int64_t kRows = 3000;
  constexpr int64_t kCols = 3000;
  std::vector<float> values(kRows * kCols);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 251);
  WriteText(dir_ / "big", Safetensors({{"m", "F32", {kRows, kCols}, FloatBytes(values)}}));
  WeightLoader loader(std::make_shared<SafetensorsFile>(dir_ / "big"), DType::kBF16);
  EXPECT_EQ(Values(loader.Matrix("m", kRows, kCols)), values);
  EXPECT_EQ(Values(loader.Table("m", kRows, kCols)), values);
}

TEST_F(WeightLoaderTest, RearrangesInTheStoredTypeOrTheLoaders) {
  const auto reversed = [](size_t row, std::span<size_t> sources) {
    sources[0] = WeightLoader::kZero;
    sources[1] = 3 - row;
  };
  const std::array<int64_t, 2> shape = {2, 2};
  for (const std::optional<DType> dtype : {std::optional<DType>(), std::optional(DType::kF16)}) {
    ThreadPool pool(2);
    WeightLoader loader(Store(1), dtype, &pool);
    const kernels::PackedMatrix matrix = loader.Rearranged("half", shape, 3, 2, reversed);
    EXPECT_EQ(matrix.dtype, dtype.value_or(DType::kBF16));
    EXPECT_THAT(Values(matrix), ElementsAre(0, 0.5F, 0, 3, 0, -2));
  }
}

TEST_F(WeightLoaderTest, AdoptsComputedWeights) {
  WeightLoader half(Store(), DType::kBF16);
  const kernels::PackedMatrix matrix = half.Adopt(std::array{1.0F, 2.0F, 3.0F, 4.1F}, 2, 2);
  EXPECT_EQ(matrix.dtype, DType::kF32);
  EXPECT_THAT(Values(matrix), ElementsAre(1, 2, 3, 4.1F));
}

TEST_F(WeightLoaderTest, MemoryOutlivesTheLoader) {
  std::shared_ptr<const void> memory;
  kernels::PackedMatrix matrix;
  std::span<const float> vector;
  {
    WeightLoader loader(Store());
    matrix = loader.Matrix("matrix", 2, 3);
    vector = loader.Vector("vector", 3);
    memory = loader.memory();
  }
  EXPECT_THAT(Values(matrix), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(vector, ElementsAre(1, 2, -3));
}

TEST_F(WeightLoaderTest, NamesTensorsAtFault) {
  WeightLoader loader(Store());
  EXPECT_THAT(MessageOf<FormatError>([&] { loader.Matrix("none", 2, 3); }),
              HasSubstr("no tensor none, expected one of shape [2, 3]"));
  EXPECT_THAT(MessageOf<FormatError>([&] { loader.Matrix("matrix", 3, 2); }),
              HasSubstr("matrix has shape [2, 3], expected [3, 2]"));
  EXPECT_THAT(MessageOf<FormatError>([&] { loader.Vector("long", 1); }),
              HasSubstr("has type I64, expected F32, F16 or BF16"));
}

// Larger than what is packed at a time, with a last strip and a last tile that are not full.
TEST_F(WeightLoaderTest, PacksLargeMatricesPieceByPiece) {
  constexpr int64_t kRows = 45003, kCols = 96;
  std::vector<float> values(static_cast<size_t>(kRows * kCols));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(static_cast<int>(i * 7919 % 2001) - 1000) / 500;
  }
  const TemporaryFolder dir;
  WriteText(dir / "model.safetensors",
            Safetensors({{"m", "F32", {kRows, kCols}, FloatBytes(values)}}));
  ThreadPool pool(2);
  for (const DType dtype : {DType::kQ8_0, DType::kQ4}) {
    WeightLoader loader(OpenTensors(dir.path()), dtype, &pool);
    const kernels::PackedMatrix matrix = loader.Matrix("m", kRows, kCols);
    const kernels::MatrixView table = loader.Table("m", kRows, kCols);
    ASSERT_EQ(matrix.dtype, dtype);
    std::vector<std::byte> blocks(kCols / kernels::kBlock * kernels::BlockBytes(dtype));
    std::vector<float> actual(kCols), expected(kCols);
    for (const size_t row : {0, 15, 16, 43675, 43676, 43679, 43680, 45001, 45002}) {
      kernels::QuantizeBlocks(values.data() + row * kCols, kCols, dtype, blocks.data());
      kernels::DequantizeBlocks(blocks.data(), kCols, dtype, expected.data());
      kernels::UnpackRow(matrix, row, actual.data());
      EXPECT_EQ(actual, expected) << row;
      kernels::LoadRow(table, row, actual.data());
      EXPECT_EQ(actual, expected) << row;
    }
  }
}

}  // namespace
}  // namespace csm::checkpoint
