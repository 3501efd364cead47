#include "checkpoint/model_dir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/atomic_file.h"
#include "checkpoint/json_file.h"
#include "checkpoint/test_files.h"

namespace csm::checkpoint {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

StoredTensor& Named(std::vector<StoredTensor>& tensors, const std::string& name) {
  for (StoredTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::runtime_error("no tensor " + name);
}

void Erase(std::vector<StoredTensor>& tensors, const std::string& name) {
  std::erase_if(tensors, [&](const StoredTensor& tensor) { return tensor.name == name; });
}

class ModelDirTest : public ::testing::Test {
 protected:
  CsmCheckpoint Open() {
    WriteCheckpoint(dir_.path(), ToJson(config_), tensors_);
    return OpenCsmCheckpoint(dir_.path());
  }
  std::string OpenError() {
    return MessageOf<FormatError>([&] { Open(); });
  }
  TemporaryFolder dir_;
  CsmConfig config_ = TinyConfig();
  std::vector<StoredTensor> tensors_ = TensorsOf(config_);
};

TEST_F(ModelDirTest, OpensAWholeModel) {
  const CsmCheckpoint checkpoint = Open();
  EXPECT_EQ(checkpoint.config, config_);
  EXPECT_EQ(checkpoint.generation_config, GenerationConfig());
  EXPECT_EQ(checkpoint.tensors->Names().size(), tensors_.size());
  const MimiCheckpoint codec = CodecOf(checkpoint);
  EXPECT_EQ(codec.prefix, "codec_model.");
  EXPECT_EQ(codec.config, config_.codec_config);
  const MimiCheckpoint codec_alone = OpenMimiCheckpoint(dir_.path());
  EXPECT_EQ(codec_alone.prefix, "codec_model.");
  EXPECT_EQ(codec_alone.config, config_.codec_config);
}

TEST_F(ModelDirTest, NamesWhatIsMissingExtraOrMisshapen) {
  Erase(tensors_, "lm_head.weight");
  Named(tensors_, "backbone_model.norm.weight").shape = {4, 3};
  StoredTensor& projector = Named(tensors_, "depth_decoder.model.inputs_embeds_projector.weight");
  projector.dtype = "I32";
  tensors_.push_back({"surplus", "F32", {1}, FloatBytes({1})});
  EXPECT_THAT(OpenError(),
              AllOf(HasSubstr("4 of its tensors differ"),
                    HasSubstr("missing lm_head.weight, expected shape [11, 12]"),
                    HasSubstr("backbone_model.norm.weight has shape [4, 3], expected [12]"),
                    HasSubstr("inputs_embeds_projector.weight has type I32, expected F32"),
                    HasSubstr("extra \"surplus\", shape [1]")));
  // The codec alone is whole.
  EXPECT_NO_THROW(OpenMimiCheckpoint(dir_.path()));
}

TEST_F(ModelDirTest, CountsProblemsBeyondAThousand) {
  tensors_.clear();
  for (int i = 0; i < 2000; ++i) tensors_.push_back({fmt::format("x{}", i), "F32", {0}, ""});
  const std::string message = OpenError();
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 1001);
  EXPECT_THAT(message, HasSubstr("more"));
}

TEST_F(ModelDirTest, IgnoresFlagsAndTables) {
  const std::string codebook =
      "codec_model.quantizer.semantic_residual_vector_quantizer.layers.0.codebook.";
  tensors_.push_back({codebook + "initialized", "BOOL", {1}, std::string(1, '\1')});
  tensors_.push_back({"backbone_model.rotary_emb.inv_freq", "F32", {1}, FloatBytes({1})});
  EXPECT_NO_THROW(Open());
}

TEST_F(ModelDirTest, TiedCodeEmbeddingsMayHaveEitherNameOrBoth) {
  EXPECT_EQ(Open().code_embeddings.backbone, kDepthCodeEmbedding);
  StoredTensor copy = Named(tensors_, kDepthCodeEmbedding);
  copy.name = kBackboneCodeEmbedding;
  tensors_.push_back(copy);
  EXPECT_EQ(Open().code_embeddings.backbone, kDepthCodeEmbedding);
  EXPECT_EQ(Open().code_embeddings.depth_decoder, kDepthCodeEmbedding);
  // Different values untie them, as in transformers.
  tensors_.back().bytes[5] ^= 1;
  EXPECT_EQ(Open().code_embeddings.backbone, kBackboneCodeEmbedding);
  EXPECT_EQ(Open().code_embeddings.depth_decoder, kDepthCodeEmbedding);
  Erase(tensors_, kDepthCodeEmbedding);
  EXPECT_EQ(Open().code_embeddings.backbone, kBackboneCodeEmbedding);
  EXPECT_EQ(Open().code_embeddings.depth_decoder, kBackboneCodeEmbedding);
  Erase(tensors_, kBackboneCodeEmbedding);
  EXPECT_THAT(OpenError(), HasSubstr("missing depth_decoder.model.embed_tokens.weight"));
}

TEST_F(ModelDirTest, UntiedCodeEmbeddingsNeedBoth) {
  config_.tie_codebooks_embeddings = false;
  EXPECT_THAT(OpenError(), HasSubstr("missing backbone_model.embed_tokens.embed_audio_tokens"));
  tensors_ = TensorsOf(config_);
  const CodeEmbeddingNames names = Open().code_embeddings;
  EXPECT_EQ(names.backbone, kBackboneCodeEmbedding);
  EXPECT_EQ(names.depth_decoder, kDepthCodeEmbedding);
}

TEST_F(ModelDirTest, AsksForBiasesAndVariants) {
  config_.attention_bias = true;
  config_.depth_decoder_config.mlp_bias = true;
  config_.codec_config.attention_bias = true;
  config_.codec_config.use_conv_shortcut = true;
  const std::string message = OpenError();
  EXPECT_THAT(message, AllOf(HasSubstr("backbone_model.layers.0.self_attn.o_proj.bias"),
                             Not(HasSubstr("backbone_model.layers.0.mlp.up_proj.bias"))));
  tensors_ = TensorsOf(config_);
  EXPECT_NO_THROW(Open());
}

TEST_F(ModelDirTest, ReadsTheGenerationConfigAndChecksIt) {
  WriteText(dir_ / "generation_config.json",
            R"({"do_sample":true,"temperature":0.5,"depth_decoder_max_new_tokens":2})");
  EXPECT_EQ(Open().generation_config.temperature, 0.5);
  WriteText(dir_ / "generation_config.json", R"({"depth_decoder_max_new_tokens":31})");
  EXPECT_THAT(OpenError(), HasSubstr("is 31, expected num_codebooks - 1 = 2"));
}

TEST_F(ModelDirTest, OpensAMimiOfItsOwn) {
  const std::string prefix = kCodecPrefix;
  std::erase_if(tensors_, [&](const StoredTensor& t) { return !t.name.starts_with(prefix); });
  for (StoredTensor& tensor : tensors_) tensor.name.erase(0, prefix.size());
  WriteCheckpoint(dir_.path(), ToJson(config_.codec_config), tensors_);
  const MimiCheckpoint codec = OpenMimiCheckpoint(dir_.path());
  EXPECT_EQ(codec.prefix, "");
  EXPECT_EQ(codec.config, config_.codec_config);
  EXPECT_THAT(MessageOf<FormatError>([&] { OpenCsmCheckpoint(dir_.path()); }),
              HasSubstr("model_type is \"mimi\", expected \"csm\""));
  tensors_.pop_back();
  WriteCheckpoint(dir_.path(), ToJson(config_.codec_config), tensors_);
  EXPECT_THAT(MessageOf<FormatError>([&] { OpenMimiCheckpoint(dir_.path()); }),
              HasSubstr("missing decoder.layers.14.conv.bias, expected shape [1]"));
}

TEST_F(ModelDirTest, SaysWhichFileIsMissing) {
  EXPECT_THAT(MessageOf<FileError>([&] { OpenCsmCheckpoint(dir_ / "none"); }),
              HasSubstr("there is no folder"));
  EXPECT_THAT(MessageOf<FileError>([&] { OpenCsmCheckpoint(dir_.path()); }),
              HasSubstr("config.json"));
  WriteText(dir_ / "config.json", ToJson(config_).dump());
  EXPECT_THAT(MessageOf<FileError>([&] { OpenCsmCheckpoint(dir_.path()); }),
              HasSubstr("no weights"));
}

TEST_F(ModelDirTest, SavesWhatItOpened) {
  const std::string flag =
      "codec_model.quantizer.semantic_residual_vector_quantizer.layers.0.codebook.initialized";
  tensors_.push_back({flag, "BOOL", {1}, std::string(1, '\1')});
  tensors_.push_back({"backbone_model.rotary_emb.inv_freq", "F32", {1}, FloatBytes({1})});
  StoredTensor copy = Named(tensors_, kDepthCodeEmbedding);
  copy.name = kBackboneCodeEmbedding;
  tensors_.push_back(copy);
  Open();
  Json json = ToJson(config_);
  json["torch_dtype"] = "float32";
  json["unknown"] = 7;
  json["transformers_weights"] = "model.safetensors";
  WriteText(dir_ / "config.json", json.dump());
  WriteText(dir_ / "generation_config.json", R"({"do_sample":true,"bos_token_id":3})");

  const CsmCheckpoint original = OpenCsmCheckpoint(dir_.path());
  SaveCsmCheckpoint(original, dir_ / "copy");
  const CsmCheckpoint saved = OpenCsmCheckpoint(dir_ / "copy");
  EXPECT_EQ(saved.config, config_);
  EXPECT_EQ(saved.generation_config, original.generation_config);
  EXPECT_EQ(saved.tensors->Names().size(), original.tensors->Names().size() - 2);
  EXPECT_EQ(saved.tensors->Find(kBackboneCodeEmbedding), nullptr);
  for (const std::string& name : saved.tensors->Names()) {
    const TensorView& before = *original.tensors->Find(name);
    const TensorView& after = *saved.tensors->Find(name);
    EXPECT_EQ(before.shape, after.shape);
    EXPECT_TRUE(std::equal(before.bytes.begin(), before.bytes.end(), after.bytes.begin(),
                           after.bytes.end()))
        << name;
  }
  const Json config = ReadConfigJson(dir_ / "copy/config.json");
  EXPECT_EQ(config["dtype"], "float32");
  EXPECT_EQ(config["unknown"], 7);
  EXPECT_FALSE(config.contains("torch_dtype"));
  EXPECT_FALSE(config.contains("transformers_weights"));
  EXPECT_EQ(ReadConfigJson(dir_ / "copy/generation_config.json")["bos_token_id"], 3);
}

TEST_F(ModelDirTest, SavesConvertedOverItsOwnFiles) {
  const CsmCheckpoint original = Open();
  SaveCsmCheckpoint(original, dir_.path(), DType::kBF16);
  const CsmCheckpoint saved = OpenCsmCheckpoint(dir_.path());
  for (const std::string& name : saved.tensors->Names()) {
    const TensorView& tensor = *saved.tensors->Find(name);
    const bool is_kept = tensor.shape.size() == 1 || name.starts_with("codec_model.");
    EXPECT_EQ(tensor.dtype, is_kept ? DType::kF32 : DType::kBF16) << name;
  }
  EXPECT_EQ(ReadConfigJson(dir_ / "config.json")["dtype"], "bfloat16");
  // The opened model still reads the file that it opened.
  EXPECT_EQ(original.tensors->Find("lm_head.weight")->dtype, DType::kF32);
  const std::string first = ReadFile(dir_ / "model.safetensors");
  SaveCsmCheckpoint(saved, dir_ / "again");
  EXPECT_EQ(ReadFile(dir_ / "again/model.safetensors"), first);
}

}  // namespace
}  // namespace csm::checkpoint
