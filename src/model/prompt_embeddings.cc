#include "model/prompt_embeddings.h"

#include "base/error.h"
#include "kernels/elementwise.h"

namespace csm::model {

PromptEmbeddings::PromptEmbeddings(const checkpoint::CsmCheckpoint& checkpoint,
                                   checkpoint::WeightLoader& loader)
    : config(checkpoint.config),
      text(loader.Table("embed_text_tokens.weight", config.text_vocab_size, config.hidden_size)),
      audio(loader.Table(checkpoint.code_embeddings.backbone,
                         config.num_codebooks * config.vocab_size, config.hidden_size)),
      memory(loader.memory()) {}

void PromptEmbeddings::EmbedText(int32_t id, float* out) const {
  if (id < 0 || id >= config.text_vocab_size) {
    Fail<ArgumentError>("text id {} is outside the vocabulary of {} (text_vocab_size)", id,
                        config.text_vocab_size);
  }
  kernels::LoadRow(text, static_cast<size_t>(id), out);
}

void PromptEmbeddings::EmbedFrame(std::span<const int32_t> frame, float* out) const {
  const auto vocab_size = static_cast<size_t>(config.vocab_size);
  kernels::LoadRow(audio, static_cast<size_t>(frame[0]), out);
  for (size_t k = 1; k < frame.size(); ++k) {
    kernels::AddRow(audio, k * vocab_size + static_cast<size_t>(frame[k]), out);
  }
}

}  // namespace csm::model
