#include "mimi/seanet.h"

#include <gtest/gtest.h>

#include <memory>

#include "mimi/test_weights.h"

namespace csm::mimi {
namespace {

MimiConfig SmallSeanetConfig() {
  MimiConfig config;
  config.hidden_size = 6;
  config.num_filters = 2;
  config.upsampling_ratios = {4, 3, 2};
  config.num_residual_layers = 2;
  return config;
}

std::shared_ptr<TestWeights> RandomDecoder(const MimiConfig& c) {
  auto weights = std::make_shared<TestWeights>();
  const auto conv = [&](const std::string& name, int64_t out, int64_t in, int64_t kernel,
                        int64_t biases) {
    weights->AddRandom("layers." + name + "conv.weight", {out, in, kernel});
    weights->AddRandom("layers." + name + "conv.bias", {biases});
  };
  int64_t channels = c.num_filters << c.upsampling_ratios.size(), layer = 0;
  const auto next = [&layer] { return std::to_string(layer++) + "."; };
  conv(next(), channels, c.hidden_size, c.kernel_size, channels);
  for (const int64_t ratio : c.upsampling_ratios) {
    ++layer;  // an ELU
    conv(next(), channels, channels / 2, 2 * ratio, channels / 2);
    channels /= 2;
    for (int64_t j = 0; j < c.num_residual_layers; ++j) {
      const std::string block = next() + "block.";
      conv(block + "1.", channels / 2, channels, c.residual_kernel_size, channels / 2);
      conv(block + "3.", channels, channels / 2, 1, channels);
    }
  }
  ++layer;
  conv(next(), 1, channels, c.last_kernel_size, 1);
  return weights;
}

// Steps of some rows of every stream; returns each stream's samples.
std::vector<std::vector<float>> Decode(const SeanetDecoder& decoder,
                                       const std::vector<std::vector<float>>& x, size_t channels,
                                       const std::vector<size_t>& steps, ThreadPool& pool) {
  std::vector<SeanetDecoder::State> states(x.size(), SeanetDecoder::State(decoder));
  std::vector<SeanetDecoder::State*> streams;
  for (SeanetDecoder::State& state : states) streams.push_back(&state);
  SeanetDecoder::Scratch scratch(decoder);
  std::vector<std::vector<float>> all(x.size());
  size_t done = 0;
  for (const size_t n : steps) {
    std::vector<float> rows;
    for (const std::vector<float>& stream : x) {
      const auto first = stream.begin() + static_cast<ptrdiff_t>(done * channels);
      rows.insert(rows.end(), first, first + static_cast<ptrdiff_t>(n * channels));
    }
    const size_t num_samples = n * decoder.samples_per_row();
    std::vector<float> samples(x.size() * num_samples);
    decoder.Step(streams, rows.data(), n, samples.data(), scratch, pool);
    for (size_t s = 0; s < x.size(); ++s) {
      const auto first = samples.begin() + static_cast<ptrdiff_t>(s * num_samples);
      all[s].insert(all[s].end(), first, first + static_cast<ptrdiff_t>(num_samples));
    }
    done += n;
  }
  return all;
}

// Pieces of a part of a stream, of one stream, of some streams with and without a rest, and of all.
TEST(SeanetDecoderTest, PiecesOfAnySizeGiveTheSameBits) {
  const MimiConfig config = SmallSeanetConfig();
  const auto weights = RandomDecoder(config);
  const auto channels = static_cast<size_t>(config.hidden_size);
  constexpr size_t kRows = 20, kStreams = 5;
  std::vector<std::vector<float>> x;
  for (size_t s = 0; s < kStreams; ++s) {
    x.push_back(weights->Random(kRows * channels, static_cast<uint32_t>(s)));
  }
  ThreadPool pool(2);
  const auto make = [&](size_t piece_floats) {
    checkpoint::WeightLoader loader(weights);
    auto decoder = std::make_unique<SeanetDecoder>(loader, "", config, piece_floats);
    return std::pair(std::move(decoder), loader.memory());
  };
  std::vector<std::vector<float>> alone;
  const auto [whole, memory] = make(kPieceFloats);
  for (const auto& stream : x) {
    alone.push_back(Decode(*whole, {stream}, channels, {kRows}, pool)[0]);
  }
  for (const size_t piece_floats : {1, 50, 130, 300, 700, 2000, 100000}) {
    SCOPED_TRACE(piece_floats);
    const auto [decoder, kept] = make(piece_floats);
    EXPECT_EQ(Decode(*decoder, x, channels, {kRows}, pool), alone);
    EXPECT_EQ(Decode(*decoder, x, channels, {1, 7, 2, 10}, pool), alone);
  }
}

}  // namespace
}  // namespace csm::mimi
