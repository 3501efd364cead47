// Every golden case against what transformers computed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include "audio/audio_file.h"
#include "base/json.h"
#include "csm/csm.hpp"
#include "engine/golden_case.h"

namespace csm::engine {
namespace {

// f32 sums in another order differ by about 1e-6 of the largest value; the promise is 1e-3.
constexpr double kLogitTolerance = 1e-4;
constexpr double kAudioTolerance = 1e-4;

class GoldenTest : public ::testing::TestWithParam<GoldenCase> {
 protected:
  GoldenTest()
      : reference_(ParseJsonFile(GetParam().dir() / "reference.json")),
        processor_(CsmProcessor::from_pretrained(GetParam().model_dir)),
        model_(CsmForConditionalGeneration::from_pretrained(GetParam().model_dir,
                                                            {.runtime = Runtime(2)})) {}

  CsmInputs Inputs(bool output_labels = false) const {
    const auto conversations = load_conversations(GetParam().dir() / "conversation.json");
    return processor_.apply_chat_template(
        conversations, {.parse_special = reference_.value("parse_special", false),
                        .output_labels = output_labels});
  }

  // One frame, and that the all-zero one that ends a row: no audio.
  static bool IsSilence(const Json& sequence) {
    return sequence.size() == 1 && std::all_of(sequence[0].begin(), sequence[0].end(),
                                               [](const Json& code) { return code == 0; });
  }

  Json reference_;
  CsmProcessor processor_;
  CsmForConditionalGeneration model_;
};

// Each over the cases whose reference has what it compares.
class LossTest : public GoldenTest {};
class HiddenStatesTest : public GoldenTest {};

void ExpectNear(std::span<const float> actual, const Json& expected, const std::string& what,
                double tolerance = kLogitTolerance) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double largest = 0, difference = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const auto value = expected[i].get<double>();
    largest = std::max(largest, std::abs(value));
    difference = std::max(difference, std::abs(static_cast<double>(actual[i]) - value));
  }
  EXPECT_LE(difference, tolerance * std::max(largest, 1e-3)) << what;
}

void ExpectMatrixNear(const Matrix& actual, const Json& expected, const std::string& what) {
  ASSERT_EQ(actual.rows, std::ssize(expected)) << what;
  for (int64_t i = 0; i < actual.rows; ++i) {
    ExpectNear(actual.row(i), expected[static_cast<size_t>(i)],
               what + ", position " + std::to_string(i));
  }
}

TEST_P(GoldenTest, InputIds) {
  const auto expected = Unpadded(reference_["input_ids"], reference_["attention_mask"]);
  const CsmInputs inputs = Inputs();
  ASSERT_EQ(inputs.rows.size(), expected.size());
  for (size_t r = 0; r < expected.size(); ++r) EXPECT_EQ(inputs.rows[r].input_ids, expected[r]);
  if (reference_.contains("prompt")) {
    const auto plain =
        processor_(reference_["prompt"].get<std::string>(), {.add_special_tokens = true});
    EXPECT_EQ(plain.rows[0].input_ids, expected[0]);
  }
}

TEST_P(GoldenTest, GreedyCodesAndAudio) {
  const auto output =
      model_.generate(Inputs(), Greedy(model_, reference_["max_new_tokens"].get<int64_t>()));
  ASSERT_EQ(output.sequences.size(), reference_["sequences"].size());
  for (size_t r = 0; r < output.sequences.size(); ++r) {
    const Json& expected = reference_["sequences"][r];
    const Codes& codes = output.sequences[r];
    EXPECT_EQ(to_string(output.finish_reason[r]),
              reference_["finish_reason"][r].get<std::string>());
    ASSERT_EQ(codes.num_frames(), std::ssize(expected)) << "row " << r;
    for (int t = 0; t < codes.num_frames(); ++t) {
      const auto frame = codes.frame(t);
      EXPECT_THAT(
          std::vector<int32_t>(frame.begin(), frame.end()),
          ::testing::ElementsAreArray(expected[static_cast<size_t>(t)].get<std::vector<int32_t>>()))
          << "row " << r << ", frame " << t;
    }
    const auto file = GetParam().dir() / ("audio_" + std::to_string(r) + ".wav");
    if (!std::filesystem::exists(file)) continue;
    if (IsSilence(expected)) {
      EXPECT_TRUE(output.audio[r].empty()) << "row " << r;
      continue;
    }
    const Waveform audio = audio::ReadAudio(file, 24000);
    ASSERT_EQ(output.audio[r].size(), audio.samples.size()) << "row " << r;
    double peak = 1, difference = 0;
    for (size_t i = 0; i < audio.samples.size(); ++i) {
      peak = std::max(peak, std::abs(static_cast<double>(audio.samples[i])));
      difference = std::max(difference, std::abs(static_cast<double>(audio.samples[i]) -
                                                 static_cast<double>(output.audio[r][i])));
    }
    EXPECT_LE(difference, kAudioTolerance * peak) << "row " << r;
  }
}

TEST_P(GoldenTest, FirstLogits) {
  const auto output = model_.forward(Inputs(), {.logits_to_keep = 1});
  ASSERT_EQ(output.logits.size(), reference_["first_logits"].size());
  for (size_t r = 0; r < output.logits.size(); ++r) {
    ExpectNear(output.logits[r].row(0), reference_["first_logits"][r], "row " + std::to_string(r));
  }
}

TEST_P(LossTest, LabelsAndLosses) {
  const auto expected = Unpadded(reference_["labels"], reference_["attention_mask"]);
  CsmInputs inputs = Inputs(/*output_labels=*/true);
  for (size_t r = 0; r < expected.size(); ++r) {
    if (reference_["depth_decoder_labels_ratio"].get<double>() == 1.0) {
      EXPECT_EQ(inputs.rows[r].labels, expected[r]);
    }
    inputs.rows[r].labels = expected[r];  // which frames the depth decoder learns is drawn
  }
  const auto output = model_.forward(inputs);
  EXPECT_NEAR(*output.loss, reference_["loss"].get<double>(), 1e-4);
  EXPECT_NEAR(*output.backbone_loss, reference_["backbone_loss"].get<double>(), 1e-4);
  EXPECT_NEAR(*output.depth_decoder_loss, reference_["depth_decoder_loss"].get<double>(), 1e-4);
}

TEST_P(HiddenStatesTest, EveryLayer) {
  const auto ids = Unpadded(reference_["input_ids"], reference_["attention_mask"])[0];
  const Json& backbone = reference_["backbone"];
  const StackInput prompt{.input_ids = ids};
  const auto states =
      model_.backbone_model().forward({&prompt, 1}, {.output_hidden_states = true})[0];
  ASSERT_EQ(states.hidden_states.size(), backbone["hidden_states"].size());
  for (size_t i = 0; i < states.hidden_states.size(); ++i) {
    ExpectMatrixNear(states.hidden_states[i], backbone["hidden_states"][i],
                     "backbone, hidden state " + std::to_string(i));
  }

  const Json& depth = reference_["depth_decoder"];
  const auto codes = depth["input_ids"].get<std::vector<int32_t>>();
  const StackInput frame{.input_ids = codes,
                         .backbone_last_hidden_state =
                             states.last_hidden_state.row(states.last_hidden_state.rows - 1)};
  const auto depth_states =
      model_.depth_decoder().forward({&frame, 1}, {.output_hidden_states = true})[0];
  ASSERT_EQ(depth_states.hidden_states.size(), depth["hidden_states"].size());
  for (size_t i = 0; i < depth_states.hidden_states.size(); ++i) {
    ExpectMatrixNear(depth_states.hidden_states[i], depth["hidden_states"][i],
                     "depth decoder, hidden state " + std::to_string(i));
  }
  ExpectMatrixNear(depth_states.logits, depth["logits"], "depth decoder, logits");
}

std::vector<GoldenCase> CasesWith(const std::string& key) {
  std::vector<GoldenCase> cases = AllGoldenCases();
  // An empty list would pass without testing anything.
  std::erase_if(cases, [&](const GoldenCase& each) {
    return !ParseJsonFile(each.dir() / "reference.json").contains(key);
  });
  if (cases.empty()) throw std::logic_error("no golden case has " + key);
  return cases;
}

std::string CaseName(const ::testing::TestParamInfo<GoldenCase>& tested) {
  std::string name = tested.param.Name();
  std::replace_if(
      name.begin(), name.end(),
      [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTest, ::testing::ValuesIn(CasesWith("sequences")), CaseName);
INSTANTIATE_TEST_SUITE_P(All, LossTest, ::testing::ValuesIn(CasesWith("loss")), CaseName);
INSTANTIATE_TEST_SUITE_P(All, HiddenStatesTest, ::testing::ValuesIn(CasesWith("backbone")),
                         CaseName);

}  // namespace
}  // namespace csm::engine
