// The device's decoder against the codec's own, on every golden codec.
#include "torch/mimi_decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/philox.h"
#include "engine/golden_case.h"

namespace csm::train {
namespace {

Codes SomeCodes(const MimiConfig& config, int num_codebooks, int num_frames, uint64_t seed) {
  Codes codes{num_codebooks, {}};
  for (int i = 0; i < num_frames * num_codebooks; ++i) {
    codes.data.push_back(static_cast<int32_t>(UniformAt(seed, 0, static_cast<uint64_t>(i), 0) *
                                              static_cast<double>(config.codebook_size)));
  }
  return codes;
}

void ExpectNear(const std::vector<float>& actual, const std::vector<float>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  float peak = 1;
  for (const float sample : expected) peak = std::max(peak, std::abs(sample));
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], 1e-4 * peak) << "sample " << i;
  }
}

// Rows that begin at different frames and one that begins twice; more frames than the window holds.
void Compare(const std::filesystem::path& dir) {
  SCOPED_TRACE(dir.string());
  const MimiModel codec = MimiModel::from_pretrained(dir, {.runtime = Runtime(1)});
  const auto num_codebooks = static_cast<int>(std::min<int64_t>(5, codec.config().num_quantizers));
  const auto window = static_cast<int>(codec.config().sliding_window);
  const int num_frames = std::min(window + 7, 40);
  const c10::InferenceMode guard;
  CodecWeights weights(checkpoint::OpenMimiCheckpoint(dir), torch::kCPU);
  MimiProgram program(weights, std::make_shared<const CodebookTables>(weights, num_codebooks), 3);
  const std::vector<std::vector<int>> begins = {{0}, {3}, {0, 5}};
  std::vector<Codes> codes(3);
  std::vector<std::vector<float>> samples(3);
  for (int t = 0; t < num_frames; ++t) {
    for (size_t r = 0; r < 3; ++r) {
      const bool is_new = std::count(begins[r].begin(), begins[r].end(), t) > 0;
      if (is_new) {
        codes[r] = SomeCodes(codec.config(), num_codebooks, num_frames - t, 10 * r + 1);
        samples[r].clear();
      }
      program.is_new()[static_cast<int64_t>(r)] = is_new;
      const int own = t - (t < begins[r].back() ? 0 : begins[r].back());
      for (int k = 0; k < num_codebooks; ++k) {
        const bool has_frame = own < codes[r].num_frames();
        program.codes()[static_cast<int64_t>(r)][k] =
            has_frame ? codes[r].frame(own)[static_cast<size_t>(k)] : 0;
      }
    }
    program.Step();
    for (size_t r = 0; r < 3; ++r) {
      const float* row = program.samples()[static_cast<int64_t>(r)].data_ptr<float>();
      if (t >= begins[r].front())
        samples[r].insert(samples[r].end(), row, row + program.samples().size(1));
    }
  }
  for (size_t r = 0; r < 3; ++r) ExpectNear(samples[r], codec.decode(codes[r]));
}

TEST(MimiDecoderTest, GivesTheCodecsSamples) {
  int compared = 0;
  for (const auto& entry : std::filesystem::directory_iterator(engine::GoldenModel("mimi"))) {
    if (!std::filesystem::exists(entry.path() / "config.json")) continue;
    Compare(entry.path());
    ++compared;
  }
  for (const char* name : {"random-tiny", "untied-biased", "mixed-sharded"}) {
    Compare(engine::GoldenModel(name));
    ++compared;
  }
  EXPECT_GE(compared, 5);
}

}  // namespace
}  // namespace csm::train
