#include "mimi/quantizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mimi/test_weights.h"

namespace csm::mimi {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

// Latents of two numbers and no projections: four vectors a codebook.
MimiConfig PlainConfig() {
  MimiConfig config;
  config.hidden_size = 2;
  config.vector_quantization_hidden_dimension = 2;
  config.codebook_dim = 2;
  config.codebook_size = 4;
  config.num_quantizers = 3;
  config.num_semantic_quantizers = 1;
  return config;
}

constexpr char kSemantic[] = "q.semantic_residual_vector_quantizer.";
constexpr char kAcoustic[] = "q.acoustic_residual_vector_quantizer.";

void AddCodebook(TestWeights& weights, const std::string& name, std::vector<float> vectors,
                 std::vector<float> usage = {1, 1, 1, 1}) {
  weights.Add(name + ".codebook.embed_sum", {4, 2}, std::move(vectors));
  weights.Add(name + ".codebook.cluster_usage", {4}, std::move(usage));
}

std::shared_ptr<TestWeights> PlainWeights() {
  auto weights = std::make_shared<TestWeights>();
  AddCodebook(*weights, std::string(kSemantic) + "layers.0", {8, 0, 0, 8, -8, 0, 0, -8});
  // Sums over 2 vectors each, and one codebook entry that was never used: 1e-5 / 1e-5.
  AddCodebook(*weights, std::string(kAcoustic) + "layers.0", {8, 0, 8, 0, 0, 8, 1e-5F, 1e-5F},
              {2, 2, 2, 0});
  AddCodebook(*weights, std::string(kAcoustic) + "layers.1", {1, 0, 0, 1, -1, 0, 0, -1});
  return weights;
}

TEST(QuantizerTest, BothSplitsQuantizeTheLatentAndEachItsOwnResidual) {
  checkpoint::WeightLoader loader(PlainWeights());
  const SplitResidualVectorQuantizer quantizer(loader, "q.", PlainConfig());
  ThreadPool pool(1);
  QuantizerScratch scratch;
  // Semantic: nearest to (5, 0.5) is (8, 0), code 0. Acoustic: nearest is (4, 0), of which there
  // are two: the lower code, 0; the rest (1, 0.5) is nearest to (1, 0), code 0.
  // (0.9, 1.2): semantic (0, 8); acoustic (1, 1), code 3; the rest (-0.1, 0.2): (0, 1), code 1.
  const std::vector<float> latents = {5, 0.5F, 0.9F, 1.2F};
  std::vector<int32_t> codes(6);
  quantizer.Encode(latents.data(), 2, 3, codes.data(), scratch, pool);
  EXPECT_THAT(codes, ElementsAre(0, 0, 0, 1, 3, 1));

  std::vector<float> decoded(4);
  quantizer.Decode(codes.data(), 2, 3, decoded.data(), scratch, pool);
  EXPECT_THAT(decoded, ElementsAre(8 + 4 + 1, 0, 0 + 1 + 0, 8 + 1 + 1));
}

TEST(QuantizerTest, FewerCodebooksAreAPrefix) {
  checkpoint::WeightLoader loader(PlainWeights());
  MimiConfig config = PlainConfig();
  const SplitResidualVectorQuantizer quantizer(loader, "q.", config);
  ThreadPool pool(1);
  QuantizerScratch scratch;
  const std::vector<float> latents = {5, 0.5F, 0.9F, 1.2F};
  std::vector<int32_t> one(2), two(4);
  quantizer.Encode(latents.data(), 2, 1, one.data(), scratch, pool);
  quantizer.Encode(latents.data(), 2, 2, two.data(), scratch, pool);
  EXPECT_THAT(one, ElementsAre(0, 1));
  EXPECT_THAT(two, ElementsAre(0, 0, 1, 3));
  std::vector<float> decoded(4);
  quantizer.Decode(one.data(), 2, 1, decoded.data(), scratch, pool);
  EXPECT_THAT(decoded, ElementsAre(8, 0, 0, 8));
}

TEST(QuantizerTest, ProjectsInAndOut) {
  MimiConfig config = PlainConfig();
  config.hidden_size = 3;
  auto weights = PlainWeights();
  for (const char* split : {kSemantic, kAcoustic}) {
    weights->Add(std::string(split) + "input_proj.weight", {2, 3, 1}, {0, 1, 0, 0, 0, 2});
    weights->Add(std::string(split) + "output_proj.weight", {3, 2, 1}, {1, 0, 0, 1, 1, 1});
  }
  checkpoint::WeightLoader loader(weights);
  const SplitResidualVectorQuantizer quantizer(loader, "q.", config);
  ThreadPool pool(1);
  QuantizerScratch scratch;
  const std::vector<float> latents = {100, 5, 0.25F};
  std::vector<int32_t> codes(3);
  quantizer.Encode(latents.data(), 1, 3, codes.data(), scratch, pool);
  EXPECT_THAT(codes, ElementsAre(0, 0, 0));
  std::vector<float> decoded(3);
  quantizer.Decode(codes.data(), 1, 3, decoded.data(), scratch, pool);
  EXPECT_THAT(decoded, ElementsAre(13, 0, 13));
}

TEST(QuantizerTest, CodesAndLatentsDoNotDependOnTheNumberOfFrames) {
  MimiConfig config;
  config.hidden_size = 24;
  config.codebook_dim = config.vector_quantization_hidden_dimension = 20;
  config.codebook_size = 64;
  config.num_quantizers = 6;
  config.num_semantic_quantizers = 2;
  auto weights = std::make_shared<TestWeights>();
  const auto add_split = [&](const std::string& split, int num_codebooks) {
    weights->AddRandom(split + "input_proj.weight", {20, 24, 1});
    weights->AddRandom(split + "output_proj.weight", {24, 20, 1});
    for (int k = 0; k < num_codebooks; ++k) {
      const std::string name = split + "layers." + std::to_string(k) + ".codebook.";
      weights->AddRandom(name + "embed_sum", {64, 20});
      weights->AddRandom(name + "cluster_usage", {64}, 2);  // negative ones count as 1e-5
    }
  };
  add_split(kSemantic, 2);
  add_split(kAcoustic, 4);
  checkpoint::WeightLoader loader(weights);
  const SplitResidualVectorQuantizer quantizer(loader, "q.", config);
  ThreadPool pool(2);
  QuantizerScratch scratch;
  constexpr size_t kFrames = 50;
  const std::vector<float> latents = weights->Random(kFrames * 24);
  std::vector<int32_t> codes(kFrames * 6);
  quantizer.Encode(latents.data(), kFrames, 6, codes.data(), scratch, pool);
  std::vector<float> decoded(kFrames * 24);
  quantizer.Decode(codes.data(), kFrames, 6, decoded.data(), scratch, pool);
  for (size_t t = 0; t < kFrames; ++t) {
    std::vector<int32_t> frame(6);
    quantizer.Encode(latents.data() + t * 24, 1, 6, frame.data(), scratch, pool);
    EXPECT_THAT(frame, ElementsAreArray(codes.data() + t * 6, 6));
    std::vector<float> row(24);
    quantizer.Decode(frame.data(), 1, 6, row.data(), scratch, pool);
    EXPECT_THAT(row, ElementsAreArray(decoded.data() + t * 24, 24));
  }
}

}  // namespace
}  // namespace csm::mimi
