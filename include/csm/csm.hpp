// csm.cpp: Sesame's Conversational Speech Model in C++.
//
// The whole public C++ interface. Names, options and defaults are those of Hugging Face
// transformers' CSM; where this library departs from it, docs/differences.md says so and why.
//
//   auto processor = csm::CsmProcessor::from_pretrained("models/csm-1b");
//   auto model = csm::CsmForConditionalGeneration::from_pretrained("models/csm-1b");
//   auto output = model.generate(processor("[0]Hello from Sesame.", {.add_special_tokens = true}));
//   processor.save_audio(output.audio[0], "hello.wav");
//
// Every from_pretrained takes a checkpoint's folder, or the name of one that is already in the
// local Hugging Face cache ("sesame/csm-1b"); nothing is downloaded. Batches are ragged: a batch is
// a vector of rows, each as long as it is, without padding. Models are immutable and may be shared
// by threads; caches and outputs belong to the caller.
#ifndef CSM_CSM_HPP_
#define CSM_CSM_HPP_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#define CSM_EXPORT __attribute__((visibility("default")))

namespace csm {

// ---------------------------------------------------------------------------------------------
// Errors: what a caller, a file or a request can cause. The message is one sentence that says
// what is wrong, where, and what would be right.

class CSM_EXPORT Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A file is missing, unreadable or cannot be written.
class CSM_EXPORT FileError : public Error {
 public:
  using Error::Error;
};

/// The content of a file (checkpoint, config, tokenizer, audio, conversation) is not valid.
class CSM_EXPORT FormatError : public Error {
 public:
  using Error::Error;
};

/// An argument or option is out of range, contradictory or not supported.
class CSM_EXPORT ArgumentError : public Error {
 public:
  using Error::Error;
};

// ---------------------------------------------------------------------------------------------
// Plain data.

/// Row-major f32 matrix [rows, cols].
struct Matrix {
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<float> data;

  Matrix() = default;
  Matrix(int64_t num_rows, int64_t num_cols)
      : rows(num_rows), cols(num_cols), data(static_cast<size_t>(num_rows * num_cols)) {}
  std::span<float> row(int64_t i) { return {data.data() + i * cols, static_cast<size_t>(cols)}; }
  std::span<const float> row(int64_t i) const {
    return {data.data() + i * cols, static_cast<size_t>(cols)};
  }
};

/// Codec codes [frames, codebooks]; a frame is 80 ms of audio, all its codebooks together.
struct Codes {
  int num_codebooks = 0;
  std::vector<int32_t> data;

  int num_frames() const {
    return num_codebooks == 0 ? 0 : static_cast<int>(data.size()) / num_codebooks;
  }
  std::span<const int32_t> frame(int t) const {
    return {data.data() + static_cast<size_t>(t) * num_codebooks,
            static_cast<size_t>(num_codebooks)};
  }
  std::span<int32_t> frame(int t) {
    return {data.data() + static_cast<size_t>(t) * num_codebooks,
            static_cast<size_t>(num_codebooks)};
  }
  /// Adds the frames of `more`, which has as many codebooks; no frames yet: takes its number.
  void append(const Codes& more) {
    if (data.empty()) num_codebooks = more.num_codebooks;
    data.insert(data.end(), more.data.begin(), more.data.end());
  }
  bool operator==(const Codes&) const = default;
};

/// Mono PCM; samples are nominally in [-1, 1] but never clipped by the library.
struct Waveform {
  std::vector<float> samples;
  int sampling_rate = 24000;
};

/// kQ8_0 and kQ4 are quantized: blocks of 32 weights with one scale, 8.5 and 4.5 bits a weight.
enum class DType { kF32, kF16, kBF16, kQ8_0, kQ4 };

// ---------------------------------------------------------------------------------------------
// Configuration. `visit_fields` is the one list of a struct's JSON fields, in HF's spelling and
// order: it drives reading, writing and printing.

/// Rotary embedding parameters; `factor` … `original_max_position_embeddings` matter to "llama3".
struct RopeParameters {
  std::string rope_type = "default";
  double rope_theta = 500000.0;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_position_embeddings = 0;

  template <typename Self, typename Visitor>
  static void visit_fields(Self& self, Visitor&& visit) {
    visit("rope_type", self.rope_type);
    visit("rope_theta", self.rope_theta);
    visit("factor", self.factor);
    visit("low_freq_factor", self.low_freq_factor);
    visit("high_freq_factor", self.high_freq_factor);
    visit("original_max_position_embeddings", self.original_max_position_embeddings);
  }
  bool operator==(const RopeParameters&) const = default;
};

/// What the backbone and the depth decoder have in common: a Llama-like decoder stack.
struct LlamaConfig {
  int64_t num_codebooks = 32;
  int64_t vocab_size = 2051;  ///< codes a codebook head can emit, special ones included
  int64_t hidden_size = 2048;
  int64_t intermediate_size = 8192;
  int64_t num_hidden_layers = 16;
  int64_t num_attention_heads = 32;
  int64_t num_key_value_heads = 8;
  int64_t head_dim = 64;
  int64_t max_position_embeddings = 2048;
  std::string hidden_act = "silu";
  double rms_norm_eps = 1e-5;
  bool attention_bias = false;
  bool mlp_bias = false;
  RopeParameters rope_parameters;

  template <typename Self, typename Visitor>
  static void visit_fields(Self& self, Visitor&& visit) {
    visit("num_codebooks", self.num_codebooks);
    visit("vocab_size", self.vocab_size);
    visit("hidden_size", self.hidden_size);
    visit("intermediate_size", self.intermediate_size);
    visit("num_hidden_layers", self.num_hidden_layers);
    visit("num_attention_heads", self.num_attention_heads);
    visit("num_key_value_heads", self.num_key_value_heads);
    visit("head_dim", self.head_dim);
    visit("max_position_embeddings", self.max_position_embeddings);
    visit("hidden_act", self.hidden_act);
    visit("rms_norm_eps", self.rms_norm_eps);
    visit("attention_bias", self.attention_bias);
    visit("mlp_bias", self.mlp_bias);
    visit("rope_parameters", self.rope_parameters);
  }
  bool operator==(const LlamaConfig&) const = default;
};

/// Depth decoder: predicts codebooks 1.. of a frame from the backbone's last hidden state.
struct CsmDepthDecoderConfig : LlamaConfig {
  int64_t backbone_hidden_size = 2048;

  CsmDepthDecoderConfig() {
    hidden_size = 1024;
    num_hidden_layers = 4;
    num_attention_heads = 8;
    num_key_value_heads = 2;
    head_dim = 128;
    max_position_embeddings = 33;
  }
  template <typename Self, typename Visitor>
  static void visit_fields(Self& self, Visitor&& visit) {
    LlamaConfig::visit_fields(self, visit);
    visit("backbone_hidden_size", self.backbone_hidden_size);
  }
  bool operator==(const CsmDepthDecoderConfig&) const = default;
};

/// Mimi, the neural codec: 24 kHz mono audio <-> frames of codes at 12.5 Hz.
struct MimiConfig {
  int64_t sampling_rate = 24000;
  int64_t audio_channels = 1;
  int64_t hidden_size = 512;
  int64_t num_filters = 64;
  int64_t num_residual_layers = 1;
  std::vector<int64_t> upsampling_ratios = {8, 6, 5, 4};
  int64_t kernel_size = 7;
  int64_t last_kernel_size = 3;
  int64_t residual_kernel_size = 3;
  int64_t dilation_growth_rate = 2;
  int64_t compress = 2;
  bool use_causal_conv = true;
  bool use_conv_shortcut = false;
  std::string pad_mode = "constant";
  double trim_right_ratio = 1.0;
  int64_t codebook_size = 2048;
  int64_t codebook_dim = 256;
  int64_t num_quantizers = 32;
  int64_t num_semantic_quantizers = 1;
  int64_t vector_quantization_hidden_dimension = 256;
  int64_t upsample_groups = 512;
  int64_t num_hidden_layers = 8;
  int64_t intermediate_size = 2048;
  int64_t num_attention_heads = 8;
  int64_t num_key_value_heads = 8;
  int64_t head_dim = 64;
  std::string hidden_act = "gelu";
  int64_t max_position_embeddings = 8000;
  double norm_eps = 1e-5;
  int64_t sliding_window = 250;
  bool attention_bias = false;
  double frame_rate = 12.5;  ///< frames per second; written as HF's `_frame_rate`
  RopeParameters rope_parameters{.rope_theta = 10000.0};

  template <typename Self, typename Visitor>
  static void visit_fields(Self& self, Visitor&& visit) {
    visit("sampling_rate", self.sampling_rate);
    visit("audio_channels", self.audio_channels);
    visit("hidden_size", self.hidden_size);
    visit("num_filters", self.num_filters);
    visit("num_residual_layers", self.num_residual_layers);
    visit("upsampling_ratios", self.upsampling_ratios);
    visit("kernel_size", self.kernel_size);
    visit("last_kernel_size", self.last_kernel_size);
    visit("residual_kernel_size", self.residual_kernel_size);
    visit("dilation_growth_rate", self.dilation_growth_rate);
    visit("compress", self.compress);
    visit("use_causal_conv", self.use_causal_conv);
    visit("use_conv_shortcut", self.use_conv_shortcut);
    visit("pad_mode", self.pad_mode);
    visit("trim_right_ratio", self.trim_right_ratio);
    visit("codebook_size", self.codebook_size);
    visit("codebook_dim", self.codebook_dim);
    visit("num_quantizers", self.num_quantizers);
    visit("num_semantic_quantizers", self.num_semantic_quantizers);
    visit("vector_quantization_hidden_dimension", self.vector_quantization_hidden_dimension);
    visit("upsample_groups", self.upsample_groups);
    visit("num_hidden_layers", self.num_hidden_layers);
    visit("intermediate_size", self.intermediate_size);
    visit("num_attention_heads", self.num_attention_heads);
    visit("num_key_value_heads", self.num_key_value_heads);
    visit("head_dim", self.head_dim);
    visit("hidden_act", self.hidden_act);
    visit("max_position_embeddings", self.max_position_embeddings);
    visit("norm_eps", self.norm_eps);
    visit("sliding_window", self.sliding_window);
    visit("attention_bias", self.attention_bias);
    visit("_frame_rate", self.frame_rate);
    visit("rope_parameters", self.rope_parameters);
  }
  /// Transformer steps per second, e.g. 25: sampling_rate / Π upsampling_ratios.
  double encodec_frame_rate() const {
    double hop = 1;
    for (int64_t ratio : upsampling_ratios) hop *= static_cast<double>(ratio);
    return static_cast<double>(sampling_rate) / hop;
  }
  /// Samples in a frame, e.g. 1920.
  int64_t frame_size() const {
    return std::llround(static_cast<double>(sampling_rate) / frame_rate);
  }
  bool operator==(const MimiConfig&) const = default;
};

/// The whole model: backbone fields, token ids and the nested depth decoder and codec configs.
struct CsmConfig : LlamaConfig {
  int64_t text_vocab_size = 128256;
  std::optional<int64_t> bos_token_id = 128000;
  std::optional<int64_t> eos_token_id;
  std::optional<int64_t> pad_token_id = 128002;
  int64_t audio_token_id = 128002;
  int64_t audio_eos_token_id = 128003;
  int64_t codebook_pad_token_id = 2050;
  int64_t codebook_eos_token_id = 0;
  bool tie_codebooks_embeddings = true;
  CsmDepthDecoderConfig depth_decoder_config;
  MimiConfig codec_config;

  template <typename Self, typename Visitor>
  static void visit_fields(Self& self, Visitor&& visit) {
    LlamaConfig::visit_fields(self, visit);
    visit("text_vocab_size", self.text_vocab_size);
    visit("bos_token_id", self.bos_token_id);
    visit("eos_token_id", self.eos_token_id);
    visit("pad_token_id", self.pad_token_id);
    visit("audio_token_id", self.audio_token_id);
    visit("audio_eos_token_id", self.audio_eos_token_id);
    visit("codebook_pad_token_id", self.codebook_pad_token_id);
    visit("codebook_eos_token_id", self.codebook_eos_token_id);
    visit("tie_codebooks_embeddings", self.tie_codebooks_embeddings);
    visit("depth_decoder_config", self.depth_decoder_config);
    visit("codec_config", self.codec_config);
  }
  /// Reads DIR/config.json, in the spelling of transformers 4 or 5.
  CSM_EXPORT static CsmConfig from_pretrained(const std::filesystem::path& dir);
  /// Writes DIR/config.json in the spelling of transformers 5.
  CSM_EXPORT void save_pretrained(const std::filesystem::path& dir) const;
  bool operator==(const CsmConfig&) const = default;
};

/// How one code is chosen from its logits; applied in this order (HF's), only if `do_sample`.
struct SamplingConfig {
  bool do_sample = false;
  double temperature = 1.0;
  std::optional<double> top_h;
  int64_t top_k = 50;  ///< 0: off
  double top_p = 1.0;
  std::optional<double> min_p;
  double typical_p = 1.0;
  double epsilon_cutoff = 0.0;
  double eta_cutoff = 0.0;

  template <typename Self, typename Visitor>
  static void visit_fields(Self& self, Visitor&& visit) {
    visit("do_sample", self.do_sample);
    visit("temperature", self.temperature);
    visit("top_h", self.top_h);
    visit("top_k", self.top_k);
    visit("top_p", self.top_p);
    visit("min_p", self.min_p);
    visit("typical_p", self.typical_p);
    visit("epsilon_cutoff", self.epsilon_cutoff);
    visit("eta_cutoff", self.eta_cutoff);
  }
  bool operator==(const SamplingConfig&) const = default;
};

struct GenerationConfig : SamplingConfig {
  /// Not an aggregate: `generate(inputs, {.max_new_tokens = 50})` would look like HF's keyword
  /// arguments and silently drop the checkpoint's other settings. Change a copy of
  /// model.generation_config() instead.
  GenerationConfig() = default;

  SamplingConfig depth_decoder;           ///< `depth_decoder_*` keys in generation_config.json
  std::optional<int64_t> max_new_tokens;  ///< frames; unset with max_length unset: 20, as HF
  std::optional<int64_t> max_length;      ///< prompt positions + frames
  int64_t num_return_sequences = 1;
  /// "static": the backbone's KV cache is allocated once for prompt and max_new_tokens; "dynamic"
  /// (the default): it grows. The numbers are the same, and the depth decoder's is always static.
  std::optional<std::string> cache_implementation;
  std::optional<std::string> depth_decoder_cache_implementation;

  bool output_audio = true;      ///< decode the codes to audio
  bool output_scores = false;    ///< keep codebook 0's logits after warping, per frame
  bool output_logits = false;    ///< keep codebook 0's raw logits, per frame
  std::optional<uint64_t> seed;  ///< none: a random one, reported in the output

  template <typename Self, typename Visitor>
  static void visit_fields(Self& self, Visitor&& visit) {
    SamplingConfig::visit_fields(self, visit);
    visit("max_new_tokens", self.max_new_tokens);
    visit("max_length", self.max_length);
    visit("num_return_sequences", self.num_return_sequences);
    visit("cache_implementation", self.cache_implementation);
    visit("depth_decoder_cache_implementation", self.depth_decoder_cache_implementation);
    visit("depth_decoder_", self.depth_decoder);  // flattened: each key gets this prefix
  }
  /// Reads DIR/generation_config.json; defaults if there is none.
  CSM_EXPORT static GenerationConfig from_pretrained(const std::filesystem::path& dir);
  CSM_EXPORT void save_pretrained(const std::filesystem::path& dir) const;
  /// Throws ArgumentError naming the first option out of range.
  CSM_EXPORT void validate() const;
};

// ---------------------------------------------------------------------------------------------
// Text.

/// A Hugging Face `tokenizer.json` (byte-level BPE). Immutable, safe to share among threads.
class CSM_EXPORT Tokenizer {
 public:
  struct Options {
    bool add_special_tokens = false;  ///< apply the file's post-processor (BOS, EOS)
    bool parse_special = true;        ///< special tokens written in the text become their id
  };
  /// Reads a tokenizer.json file.
  static Tokenizer from_file(const std::filesystem::path& file);
  /// Reads DIR/tokenizer.json.
  static Tokenizer from_pretrained(const std::filesystem::path& dir);
  /// Invalid UTF-8 is read as Python's errors="replace" would: U+FFFD per maximal bad part.
  std::vector<int32_t> encode(std::string_view text, const Options& options) const;
  std::vector<int32_t> encode(std::string_view text) const { return encode(text, Options()); }
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = false) const;
  std::optional<int32_t> token_to_id(std::string_view token) const;
  std::optional<std::string> id_to_token(int32_t id) const;
  int64_t vocab_size() const;  ///< largest id + 1

  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<const Impl> impl_;
};

/// Audio of a turn: a file, samples at any rate, or codes made earlier by the codec.
struct Audio {
  std::variant<std::filesystem::path, Waveform, Codes> source;
};

struct Text {
  std::string text;
};

/// A turn of a conversation: `role` is the speaker, a number in decimal digits.
struct Message {
  std::string role;
  std::vector<std::variant<Text, Audio>> content;
  bool train = true;  ///< output_labels: its audio is learnt; false: it is context alone
};

using Conversation = std::vector<Message>;

/// Reads HF's chat form: a list of messages, or a list of such lists (a batch). Audio is a file, or
/// {"codes": [[c0, c1, …], …]} of the codec, a list a frame. Audio paths are
/// relative to the file's folder. Throws FormatError naming the message and key at fault.
CSM_EXPORT std::vector<Conversation> load_conversations(const std::filesystem::path& json_file);

/// HF's arrays: every row padded to one length. Shapes in brackets; row-major.
struct PaddedInputs {
  int64_t batch = 0, length = 0, max_samples = 0, max_clips = 0;
  std::vector<int64_t> input_ids;             ///< [batch, length]
  std::vector<int64_t> attention_mask;        ///< [batch, length]
  std::vector<float> input_values;            ///< [batch, 1, max_samples]
  std::vector<int64_t> input_values_cutoffs;  ///< [batch, max_clips]; -1 where there is no clip
  std::vector<int64_t> labels;                ///< [batch, length], empty unless asked for
};

struct PaddingOptions {
  std::optional<std::string> padding_side;  ///< "left" or "right"; none: the inputs' own
  std::optional<int64_t> max_length;        ///< pad to this length; a longer row is an error
};

class Voice;

/// What CsmProcessor makes and the model reads.
struct CsmInputs {
  struct Row {
    std::vector<int32_t> input_ids;  ///< one `audio_token_id` per frame of audio
    /// The row's clips in order, each at the codec's rate or as codes; together they have one
    /// frame per `audio_token_id` of `input_ids`.
    std::vector<std::variant<Waveform, Codes>> clips;
    std::vector<int32_t> labels;  ///< like input_ids; -100: ignored, -101: codebook 0 only
    /// Set by Voice::apply_chat_template: the row begins with this voice's positions, which
    /// generate() then does not compute again. forward() computes all of them.
    std::shared_ptr<const Voice> voice;
  };
  std::vector<Row> rows;
  int64_t pad_token_id = 0;
  std::string padding_side = "left";  ///< the checkpoint's

  /// Throws ArgumentError if a clip is codes: HF's arrays hold samples.
  CSM_EXPORT PaddedInputs padded(const PaddingOptions& options = {}) const;
};

class CSM_EXPORT CsmProcessor {
 public:
  struct Options {
    bool add_special_tokens = false;  ///< for plain "[0]text" prompts: BOS before, EOS after
    bool parse_special = false;  ///< HF's behaviour: special tokens in user text become their id
    bool output_labels = false;
    double depth_decoder_labels_ratio = 1.0;  ///< share of audio frames with depth labels
    uint64_t seed = 0;                        ///< draws those frames
  };
  static CsmProcessor from_pretrained(const std::filesystem::path& dir);
  /// Writes tokenizer.json, tokenizer_config.json, processor_config.json, chat_template.jinja.
  void save_pretrained(const std::filesystem::path& dir) const;

  /// A plain prompt such as "[0]Hello". Special tokens written in it are text, unless
  /// `parse_special`.
  CsmInputs operator()(std::string_view text, const Options& options) const;
  CsmInputs operator()(std::string_view text) const { return (*this)(text, Options()); }
  CsmInputs operator()(std::span<const std::string> texts, const Options& options) const;
  CsmInputs operator()(std::span<const std::string> texts) const {
    return (*this)(texts, Options());
  }
  /// Texts with one "<|AUDIO|>" for each clip, in order over all texts; special tokens written in
  /// them are recognised, `parse_special` or not.
  CsmInputs operator()(std::span<const std::string> texts, std::span<const Audio> audios,
                       const Options& options) const;
  /// Each message is "<|begin_of_text|>[role]text<|end_of_text|>", followed by
  /// "<|AUDIO|><|audio_eos|>" if it has audio. A message has one text and at most one audio, in
  /// any order. Throws ArgumentError, FileError, FormatError naming the conversation and message.
  CsmInputs apply_chat_template(const Conversation& conversation, const Options& options) const;
  CsmInputs apply_chat_template(const Conversation& conversation) const {
    return apply_chat_template(conversation, Options());
  }
  CsmInputs apply_chat_template(std::span<const Conversation> batch, const Options& options) const;
  CsmInputs apply_chat_template(std::span<const Conversation> batch) const {
    return apply_chat_template(batch, Options());
  }
  const Tokenizer& tokenizer() const;
  int sampling_rate() const;                          ///< of the codec, e.g. 24000
  const std::filesystem::path& name_or_path() const;  ///< the folder or file that it was read from

  /// Reads an audio file of any rate and number of channels as the codec takes it: mono, at
  /// sampling_rate().
  Waveform load_audio(const std::filesystem::path& file) const;
  /// Writes audio to a file by its extension (wav, flac, ogg, opus, mp3). `subtype` is "FLOAT",
  /// "PCM_16" or "PCM_24"; empty: the format's own, PCM_16 in a wav file. Returns how many samples
  /// were beyond full scale and so were limited to it; FLOAT keeps them as they are.
  int64_t save_audio(std::span<const float> audio, const std::filesystem::path& file,
                     std::string_view subtype = "") const;

  struct Impl;
  explicit CsmProcessor(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<const Impl> impl_;
};

// ---------------------------------------------------------------------------------------------
// Running models.

/// The threads that models compute on. Share one among models to use each core once; calls from
/// several threads at a time are safe and give the same numbers.
class CSM_EXPORT Runtime {
 public:
  /// num_threads 0: one per physical core that this process may use.
  explicit Runtime(int num_threads = 0);
  int num_threads() const;

  struct Impl;
  const std::shared_ptr<Impl>& impl() const { return impl_; }

 private:
  std::shared_ptr<Impl> impl_;
};

/// What a product may do to its input. kExact keeps it in f32: numbers equal those of transformers
/// in f32 on the same weights. kFast rounds it to the kind of its weights: to int8 if they are
/// quantized, to bf16 if they are bf16 and the processor multiplies bf16 (AVX512-BF16: prompts and
/// batches at twice the speed, errors as of any bf16 computation); f32 and f16 weights stay exact.
enum class Precision { kExact, kFast };

struct LoadOptions {
  /// Convert matrices to this type; none: as stored. Rows that are not a multiple of 32 long stay
  /// 16-bit (f32 becomes f16). The codec is not converted, but its decoder becomes f16 if this is
  /// quantized.
  std::optional<DType> dtype;
  /// None: kFast if the matrices are quantized (kExact is not offered for these), else kExact.
  std::optional<Precision> precision;
  std::optional<Runtime> runtime;  ///< none: one of its own
  /// What generate() computes on: "cpu", this library's own kernels; "cuda" or "cuda:N", a GPU by
  /// LibTorch; "torch-cpu", LibTorch on the processor, as a GPU computes (for tests). Other calls
  /// stay on the processor, whose copy of the weights is loaded when one asks for it, as a voice
  /// does. Another device than "cpu" needs libcsm_train.so beside the program or libcsm.so.
  std::string device = "cpu";
  /// Folder of a LoRA adapter in the format of the peft package, added to the weights as they are
  /// loaded: its matrices are f32 then, unless `dtype` says otherwise.
  std::optional<std::filesystem::path> adapter;
};

/// Keys and values of one sequence, which is one row of a batch, for one stack. Grows as needed
/// (HF's DynamicCache), or has a fixed capacity (HF's StaticCache, `cache_implementation="static"`)
/// and throws ArgumentError when it is full. Belongs to the first model that uses it.
class CSM_EXPORT KvCache {
 public:
  KvCache();
  explicit KvCache(int64_t max_cache_len);
  ~KvCache();
  KvCache(KvCache&&) noexcept;
  KvCache& operator=(KvCache&&) noexcept;

  int64_t get_seq_length() const;
  /// Forgets every position from `length` on.
  void crop(int64_t length);

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// One row of a batch for a stack: exactly one of `input_ids`, `codes`, `inputs_embeds`.
struct StackInput {
  std::span<const int32_t> input_ids = {};     ///< depth decoder: one code per position
  const Codes* codes = nullptr;                ///< backbone: one frame per position
  const Matrix* inputs_embeds = nullptr;       ///< [positions, width of the embeddings]
  std::span<const int32_t> position_ids = {};  ///< empty: on from the cache's length
  KvCache* past_key_values = nullptr;          ///< null: a cache of its own, dropped after
  std::span<const float> backbone_last_hidden_state = {};  ///< depth decoder, position 0
};

struct ForwardOptions {
  bool output_hidden_states = false;
  int64_t logits_to_keep = 0;  ///< logits of the last N positions only; 0: all
};

/// One row's result.
struct StackOutput {
  Matrix last_hidden_state;           ///< [positions, hidden_size], after the final norm
  std::vector<Matrix> hidden_states;  ///< on request: the input of each layer, then the above
  Matrix logits;                      ///< [kept positions, vocab_size]; empty for bare stacks
};

class CSM_EXPORT CsmBackboneModel {
 public:
  static CsmBackboneModel from_pretrained(const std::filesystem::path& dir,
                                          const LoadOptions& options = {});
  const CsmConfig& config() const;
  std::vector<StackOutput> forward(std::span<const StackInput> batch,
                                   const ForwardOptions& options = {}) const;
  StackOutput forward(const StackInput& row, const ForwardOptions& options = {}) const {
    return std::move(forward(std::span(&row, 1), options)[0]);
  }
  /// Sum over codebooks of the code embeddings: [frames, hidden_size].
  Matrix embed_tokens(const Codes& codes) const;

  struct Impl;
  explicit CsmBackboneModel(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<const Impl> impl_;
};

class CSM_EXPORT CsmDepthDecoderModel {
 public:
  static CsmDepthDecoderModel from_pretrained(const std::filesystem::path& dir,
                                              const LoadOptions& options = {});
  const CsmDepthDecoderConfig& config() const;
  std::vector<StackOutput> forward(std::span<const StackInput> batch,
                                   const ForwardOptions& options = {}) const;
  StackOutput forward(const StackInput& row, const ForwardOptions& options = {}) const {
    return std::move(forward(std::span(&row, 1), options)[0]);
  }

  struct Impl;
  explicit CsmDepthDecoderModel(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<const Impl> impl_;
};

class CSM_EXPORT CsmDepthDecoderForCausalLM {
 public:
  static CsmDepthDecoderForCausalLM from_pretrained(const std::filesystem::path& dir,
                                                    const LoadOptions& options = {});
  const CsmDepthDecoderConfig& config() const;
  CsmDepthDecoderModel model() const;
  /// Logits of position p >= 1 are those of codebook p; position 0 has none.
  std::vector<StackOutput> forward(std::span<const StackInput> batch,
                                   const ForwardOptions& options = {}) const;
  StackOutput forward(const StackInput& row, const ForwardOptions& options = {}) const {
    return std::move(forward(std::span(&row, 1), options)[0]);
  }
  /// Codes 1.. of a frame from its code 0 and the backbone's last hidden state
  /// [backbone_hidden_size]. Returns the whole frame, code 0 first. `sequence` and `frame` key the
  /// random numbers.
  std::vector<int32_t> generate(std::span<const float> backbone_last_hidden_state, int32_t code0,
                                const SamplingConfig& sampling = {}, uint64_t seed = 0,
                                uint64_t sequence = 0, uint64_t frame = 0) const;

  struct Impl;
  explicit CsmDepthDecoderForCausalLM(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<const Impl> impl_;
};

/// The codec. Encoding and decoding in pieces of any size give the bits of the whole at once.
class CSM_EXPORT MimiModel {
 public:
  /// DIR is a CSM checkpoint (its codec is read) or a Mimi checkpoint of its own.
  static MimiModel from_pretrained(const std::filesystem::path& dir,
                                   const LoadOptions& options = {});
  const MimiConfig& config() const;

  /// Codes of a mono waveform at the codec's rate: [ceil(samples / frame_size), num_codebooks].
  /// num_codebooks 0: all quantizers.
  Codes encode(std::span<const float> samples, int num_codebooks = 0) const;
  /// frame_size samples per frame; codes may have 1 to num_quantizers codebooks.
  std::vector<float> decode(const Codes& codes) const;

  /// State of one stream of audio into codes.
  class CSM_EXPORT Encoder {
   public:
    explicit Encoder(const MimiModel& model, int num_codebooks = 0);
    ~Encoder();
    Encoder(Encoder&&) noexcept;
    Encoder& operator=(Encoder&&) noexcept;
    /// Returns the frames that these samples complete.
    Codes push(std::span<const float> samples);
    /// Ends the stream: the last frame, padded as the whole-file encoder pads it.
    Codes finish();

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
  };

  /// State of one stream of codes into audio.
  class CSM_EXPORT Decoder {
   public:
    explicit Decoder(const MimiModel& model);
    ~Decoder();
    Decoder(Decoder&&) noexcept;
    Decoder& operator=(Decoder&&) noexcept;
    /// frame_size samples per frame, at once: the codec looks at no later frame.
    std::vector<float> push(const Codes& codes);

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
  };

  struct Impl;
  explicit MimiModel(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

enum class FinishReason { kStop, kLength, kCancelled };
CSM_EXPORT std::string_view to_string(FinishReason reason);  ///< "stop", "length", "cancelled"

/// Called on the thread that called generate(); an exception thrown in one ends generation.
struct GenerateCallbacks {
  /// How many of all prompt positions have gone through the backbone.
  std::function<void(int64_t positions, int64_t total)> on_prefill;
  /// A frame of a sequence is complete, an ending one included.
  std::function<void(int sequence, std::span<const int32_t> frame)> on_frame;
  /// The next audio of a sequence, frame_size samples a frame, in order and without gap.
  std::function<void(int sequence, std::span<const float> samples)> on_audio;
  /// After a sequence's first frame, whose audio comes at once, so many are collected before
  /// on_audio is called (its last ones may be fewer; below 1 means 1): one by one they cost most,
  /// from 32 on, which is the most that a call has, least. On another device than "cpu" each frame
  /// has its call.
  int audio_frames = 1;
  /// Changes raw logits [vocab_size] before any warping.
  std::function<void(int sequence, int frame, int codebook, std::span<float> logits)>
      logits_processor;
  /// Asked before each frame, and often while prompts are read; true ends every sequence with
  /// FinishReason::kCancelled. Audio that audio_frames made wait still comes.
  std::function<bool()> is_cancelled;
};

/// Where the time of generate() went, in seconds: the parts of all frames together, the choice of
/// codes and the caller's callbacks included.
struct GenerateTimes {
  double prefill = 0;        ///< the prompts' way through the backbone
  double backbone = 0;       ///< its steps, one a frame
  double depth_decoder = 0;  ///< its passes, without the heads
  double heads = 0;          ///< logits of all codebooks, lm_head included
  double codec = 0;          ///< frames to audio
};

/// One entry per returned sequence: row 0's num_return_sequences first, then row 1's, …
struct CsmGenerateOutput {
  std::vector<Codes> sequences;           ///< an ending all-zero frame included
  std::vector<std::vector<float>> audio;  ///< without it; empty unless output_audio
  std::vector<FinishReason> finish_reason;
  std::vector<Matrix> scores;  ///< [frames, vocab_size], on request
  std::vector<Matrix> logits;  ///< [frames, vocab_size], on request
  uint64_t seed = 0;
  GenerateTimes times;
};

struct CsmOutput {
  std::vector<Matrix> logits;  ///< per row [kept positions, vocab_size], codebook 0
  std::vector<std::vector<Matrix>> hidden_states;  ///< per row, on request
  std::optional<double> loss;                      ///< backbone_loss + depth_decoder_loss
  std::optional<double> backbone_loss;
  std::optional<double> depth_decoder_loss;
};

class CSM_EXPORT CsmForConditionalGeneration {
 public:
  static CsmForConditionalGeneration from_pretrained(const std::filesystem::path& dir,
                                                     const LoadOptions& options = {});
  /// Writes config.json, generation_config.json and model.safetensors that transformers loads.
  void save_pretrained(const std::filesystem::path& dir) const;

  const CsmConfig& config() const;
  const GenerationConfig& generation_config() const;  ///< the checkpoint's defaults
  CsmBackboneModel backbone_model() const;
  CsmDepthDecoderForCausalLM depth_decoder() const;
  MimiModel codec_model() const;

  /// Speech for every row; the checkpoint's generation_config, or the one given.
  CsmGenerateOutput generate(const CsmInputs& inputs) const;
  CsmGenerateOutput generate(const CsmInputs& inputs, const GenerationConfig& config,
                             const GenerateCallbacks& callbacks = {}) const;
  /// Codebook-0 logits, and HF's losses if the rows have labels.
  CsmOutput forward(const CsmInputs& inputs, const ForwardOptions& options = {}) const;
  /// The backbone with its head: codebook-0 logits from ids, codes or inputs_embeds, with a cache
  /// that goes on from call to call. What a generation loop of one's own is made of.
  std::vector<StackOutput> forward(std::span<const StackInput> batch,
                                   const ForwardOptions& options = {}) const;
  StackOutput forward(const StackInput& row, const ForwardOptions& options = {}) const {
    return std::move(forward(std::span(&row, 1), options)[0]);
  }

  struct Impl;
  explicit CsmForConditionalGeneration(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

/// What a voice is, and the model it was made with.
struct VoiceInfo {
  std::string model;        ///< its name, without the path
  std::string dtype;        ///< types of the backbone's weights, e.g. "bf16" or "q8_0, f16"
  std::string precision;    ///< "exact", or "fast" if products round their input
  std::string fingerprint;  ///< of all that the positions depend on; docs/formats.md says of what
  int64_t num_positions = 0;
  int64_t num_frames = 0;  ///< of audio in them
  double audio_seconds = 0;
};

/// Called on the thread that called Voice::create(); an exception thrown in one ends it.
struct VoiceCallbacks {
  std::function<void(int64_t frames, int64_t total)> on_encode;      ///< audio through the codec
  std::function<void(int64_t positions, int64_t total)> on_prefill;  ///< through the backbone
};

/// The turns of a conversation as a model has read them: ids, codes, and the backbone's keys and
/// values of every position. What is said after them costs its own positions only, and is bit for
/// bit what generate() says after the whole conversation, on the same instruction set. Belongs to
/// the weights it was made with, in their type. Immutable, cheap to copy, safe to share by threads.
///
///   auto voice = csm::Voice::create(model, processor, turns);
///   voice.save("ann.voice");
///   auto inputs = voice.apply_chat_template(processor, {{"0", {csm::Text{"And then?"}}}});
///   auto output = model.generate(inputs);
class CSM_EXPORT Voice {
 public:
  /// The last turn must have audio. `options` are those of the prompts to come; labels and special
  /// tokens around them have no place here. Throws ArgumentError for turns that are no voice.
  static Voice create(const CsmForConditionalGeneration& model, const CsmProcessor& processor,
                      const Conversation& conversation, const CsmProcessor::Options& options = {},
                      const VoiceCallbacks& callbacks = {});
  /// Throws FileError, FormatError.
  static Voice from_file(const std::filesystem::path& file);
  /// The file appears whole or not at all.
  void save(const std::filesystem::path& file) const;

  const VoiceInfo& info() const;
  /// The turns; their audio as codes.
  const Conversation& conversation() const;

  /// As CsmProcessor's, with the voice's turns before those of each conversation. Each row that is
  /// spoken takes a copy of the keys and values. Throws ArgumentError if the processor reads the
  /// voice's turns otherwise than the one it was made with.
  CsmInputs apply_chat_template(const CsmProcessor& processor, const Conversation& conversation,
                                const CsmProcessor::Options& options = {}) const {
    return apply_chat_template(processor, std::span(&conversation, 1), options);
  }
  CsmInputs apply_chat_template(const CsmProcessor& processor, std::span<const Conversation> batch,
                                const CsmProcessor::Options& options = {}) const;

  struct Impl;
  explicit Voice(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

}  // namespace csm

#endif  // CSM_CSM_HPP_
