#include "checkpoint/initial_checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <span>

#include "base/temporary_folder.h"
#include "checkpoint/csm_tensors.h"
#include "checkpoint/model_dir.h"

namespace csm::checkpoint {
namespace {

const std::filesystem::path kTiny =
    std::filesystem::path(CSM_TEST_DATA_DIR) / "goldens" / "random-tiny";

std::span<const float> Floats(const TensorView& tensor) {
  return {reinterpret_cast<const float*>(tensor.bytes.data()), tensor.bytes.size() / sizeof(float)};
}

TEST(InitialCheckpoint, MatricesAreNormal) {
  const CsmCheckpoint made = MakeInitialCheckpoint(kTiny, kTiny, 1);
  const auto values = Floats(*made.tensors->Find("embed_text_tokens.weight"));
  const auto n = static_cast<double>(values.size());
  double sum = 0, squares = 0, cubes = 0;
  for (const double v : values) sum += v, squares += v * v, cubes += v * v * v;
  const double deviation = std::sqrt(squares / n);
  EXPECT_NEAR(deviation, 0.02, 0.001);
  EXPECT_NEAR(sum / n, 0, 4 * deviation / std::sqrt(n));
  EXPECT_NEAR(cubes / n / std::pow(deviation, 3), 0, 0.2);
  const auto within =
      std::count_if(values.begin(), values.end(), [&](float v) { return std::abs(v) < deviation; });
  EXPECT_NEAR(static_cast<double>(within) / n, 0.6827, 0.02);
}

TEST(InitialCheckpoint, ValuesAreThereWhileTheyAreUsed) {
  const CsmCheckpoint made = MakeInitialCheckpoint(kTiny, std::nullopt, 1);
  const std::string name = "lm_head.weight";
  EXPECT_TRUE(made.tensors->FindShape(name)->bytes.empty());
  const TensorView* tensor = made.tensors->Find(name);
  const float first = Floats(*tensor)[0];
  TensorView part = *tensor;
  part.bytes = part.bytes.first(8);
  made.tensors->Release(part);  // not all of it yet
  EXPECT_EQ(Floats(*made.tensors->Find(name))[0], first);
  made.tensors->Release(*made.tensors->Find(name));
  EXPECT_TRUE(made.tensors->FindShape(name)->bytes.empty());
  EXPECT_EQ(Floats(*made.tensors->Find(name))[0], first);
}

TEST(InitialCheckpoint, SavedItIsAWholeCheckpoint) {
  const TemporaryFolder folder;
  SaveCsmCheckpoint(MakeInitialCheckpoint(kTiny, kTiny, 1), folder / "m", DType::kBF16);
  const CsmCheckpoint saved = OpenCsmCheckpoint(folder / "m");
  EXPECT_EQ(saved.tensors->Find("lm_head.weight")->dtype, DType::kBF16);
  const auto trained = OpenCsmCheckpoint(kTiny);
  const std::string codec =
      "codec_model.quantizer.semantic_residual_vector_quantizer.layers.0.codebook.embed_sum";
  const auto same = saved.tensors->Find(codec)->bytes, from = trained.tensors->Find(codec)->bytes;
  EXPECT_TRUE(std::equal(same.begin(), same.end(), from.begin(), from.end()));
}

}  // namespace
}  // namespace csm::checkpoint
