#include "torch/attention_guide.h"

#include <gtest/gtest.h>

#include <vector>

#include "checkpoint/model_dir.h"
#include "engine/golden_case.h"
#include "torch/batch.h"

namespace csm::train {
namespace {

class AttentionGuideTest : public testing::Test {
 protected:
  // A turn of `num_tokens` tokens, the first of which begins it, and `num_frames` frames.
  void AddTurn(int num_tokens, int num_frames) {
    for (int i = 0; i < num_tokens; ++i) Add(i == 0 ? *config_.bos_token_id : 5, -100);
    for (int i = 0; i < num_frames; ++i) {
      Add(config_.audio_token_id, static_cast<int32_t>(config_.audio_token_id));
      for (int64_t c = 0; c < config_.num_codebooks; ++c) sample_.frames.data.push_back(i + 1);
    }
    Add(config_.audio_eos_token_id, static_cast<int32_t>(config_.audio_eos_token_id));
  }
  void Add(int64_t id, int32_t label) {
    sample_.input_ids.push_back(static_cast<int32_t>(id));
    sample_.labels.push_back(label);
  }

  const CsmConfig config_ = CsmConfig::from_pretrained(engine::GoldenModel("random-tiny"));
  Sample sample_{{}, {}, {static_cast<int>(config_.num_codebooks), {}}};
};

TEST_F(AttentionGuideTest, BellsFollowTheTextOfTheirOwnTurn) {
  AddTurn(8, 4);    // positions 0 to 7, 8 to 11, 12
  AddTurn(30, 10);  // 13 to 42, 43 to 52, 53
  const torch::Tensor guide =
      MakeAttentionGuide({&sample_, 1}, config_, std::ssize(sample_.input_ids))[0];
  ASSERT_EQ(guide.size(0), 54);
  for (const auto& [before, frames, text, tokens] :
       std::vector<std::array<int64_t, 4>>{{7, 4, 0, 8}, {42, 10, 13, 30}}) {
    int64_t last_peak = -1;
    for (int64_t frame = 0; frame < frames; ++frame) {
      const torch::Tensor bell = guide[before + frame];
      const int64_t peak = bell.argmax().item<int64_t>();
      EXPECT_GT(peak, last_peak);
      last_peak = peak;
      const double middle = (static_cast<double>(frame) + 0.5) / static_cast<double>(frames);
      EXPECT_NEAR(static_cast<double>(peak - text) + 0.5, middle * static_cast<double>(tokens), 1);
      EXPECT_EQ(bell.narrow(0, 0, text).sum().item<float>(), 0);
      EXPECT_EQ(bell.narrow(0, text + tokens, 54 - text - tokens).sum().item<float>(), 0);
    }
  }
  EXPECT_EQ(guide[11].sum().item<float>(), 0);  // predicts the end of audio
  EXPECT_EQ(guide[30].sum().item<float>(), 0);  // in the text
}

TEST_F(AttentionGuideTest, LossIsSmallWhereAttentionIsOnTheText) {
  AddTurn(4, 2);
  const int64_t length = std::ssize(sample_.input_ids);
  const torch::Tensor keys = torch::eye(length).unsqueeze(0);
  const torch::Tensor wanted =
      MakeAttentionGuide({&sample_, 1}, config_, std::ssize(sample_.input_ids));
  const auto loss = [&](const torch::Tensor& looked_at) {
    AttentionGuide guide(wanted, /*num_layers=*/4);
    EXPECT_FALSE(guide.IsGuided(0));
    EXPECT_TRUE(guide.IsGuided(1) && guide.IsGuided(2));
    EXPECT_FALSE(guide.IsGuided(3));
    for (int layer = 1; layer <= 2; ++layer) guide.Add(looked_at * 1000, keys);
    return guide.Loss().item<double>();
  };
  const torch::Tensor on_text = torch::eye(length).index_select(0, wanted[0].argmax(1));
  EXPECT_NEAR(loss(on_text.unsqueeze(0)), 0, 0.1);
  EXPECT_GT(loss(keys), 9);  // each position at itself: the second frame's is no text
}

TEST_F(AttentionGuideTest, CodeNoiseChangesWhatIsHeardAlone) {
  AddTurn(3, 40);
  const Batch clean = MakeBatch({&sample_, 1}, config_);
  Batch same = clean;
  torch::manual_seed(1);
  AddCodeNoise(0, config_, same);
  EXPECT_TRUE(same.frames.equal(clean.frames));
  Batch noisy = clean;
  AddCodeNoise(0.5, config_, noisy);
  const double share =
      noisy.frames.ne(clean.frames).any(1).to(torch::kFloat32).mean().item<double>();
  EXPECT_GT(share, 0.4);
  EXPECT_LT(share, 0.95);
  EXPECT_TRUE(noisy.frames[-1].equal(clean.frames[-1]));  // the end of audio
  EXPECT_TRUE(noisy.depth_frames.equal(clean.depth_frames));
  EXPECT_TRUE(noisy.backbone_labels.equal(clean.backbone_labels));
}

}  // namespace
}  // namespace csm::train
