#include "audio/wav_header.h"

#include <array>
#include <cstring>

#include "base/error.h"

namespace csm::audio {
namespace {

constexpr uint32_t kUnknownSize = 0xFFFFFFFF;
// sox writes 0x7FFFF000 and a little more when it cannot know.
constexpr uint32_t kSmallestUnknownSize = 0x7FFFF000;
constexpr uint16_t kFormatPcm = 1;
constexpr uint16_t kFormatFloat = 3;
constexpr int kMaxChunks = 10000;

template <typename T>
void Append(T value, std::string* bytes) {
  for (size_t i = 0; i < sizeof(T); ++i) bytes->push_back(static_cast<char>(value >> (8 * i)));
}

uint32_t LoadU32(const unsigned char* p) {
  return p[0] | static_cast<uint32_t>(p[1]) << 8 | static_cast<uint32_t>(p[2]) << 16 |
         static_cast<uint32_t>(p[3]) << 24;
}

}  // namespace

std::string WavHeader(int sampling_rate, SampleType type, std::optional<uint32_t> data_bytes) {
  const uint32_t block = static_cast<uint32_t>(BytesPerSample(type));
  const bool is_float = type == SampleType::kFloat;
  std::string format = "fmt ";
  Append<uint32_t>(is_float ? 18 : 16, &format);
  Append<uint16_t>(is_float ? kFormatFloat : kFormatPcm, &format);
  Append<uint16_t>(1, &format);  // channels
  Append<uint32_t>(static_cast<uint32_t>(sampling_rate), &format);
  Append<uint32_t>(static_cast<uint32_t>(sampling_rate) * block, &format);
  Append<uint16_t>(static_cast<uint16_t>(block), &format);
  Append<uint16_t>(static_cast<uint16_t>(8 * block), &format);
  if (is_float) {
    // Formats other than PCM have an (empty) extension, and the number of samples.
    Append<uint16_t>(0, &format);
    format += "fact";
    Append<uint32_t>(4, &format);
    Append<uint32_t>(data_bytes ? *data_bytes / block : kUnknownSize, &format);
  }
  // Chunks are padded to even lengths.
  const uint64_t padded_bytes = (uint64_t{data_bytes.value_or(0)} + 1) / 2 * 2;
  const uint64_t riff_bytes = 4 + format.size() + 8 + padded_bytes;
  const bool is_known = data_bytes && riff_bytes < kUnknownSize;

  std::string header = "RIFF";
  Append<uint32_t>(is_known ? static_cast<uint32_t>(riff_bytes) : kUnknownSize, &header);
  header += "WAVE" + format + "data";
  Append<uint32_t>(is_known ? *data_bytes : kUnknownSize, &header);
  return header;
}

void CheckWavIsWhole(ByteStream& stream, std::string_view name) {
  std::array<unsigned char, 12> riff;
  if (stream.ReadAt(0, riff.data(), riff.size()) != static_cast<int64_t>(riff.size())) return;
  if (std::memcmp(riff.data(), "RIFF", 4) != 0 || std::memcmp(riff.data() + 8, "WAVE", 4) != 0) {
    return;
  }
  const int64_t size = stream.Size();
  int64_t offset = riff.size();
  for (int i = 0; i < kMaxChunks; ++i) {
    std::array<unsigned char, 8> chunk;
    if (stream.ReadAt(offset, chunk.data(), chunk.size()) != static_cast<int64_t>(chunk.size())) {
      return;  // no samples at all, which libsndfile says well
    }
    const uint32_t chunk_bytes = LoadU32(chunk.data() + 4);
    offset += static_cast<int64_t>(chunk.size());
    if (std::memcmp(chunk.data(), "data", 4) == 0) {
      if (chunk_bytes < kSmallestUnknownSize && offset + chunk_bytes > size) {
        Fail<FormatError>("{} is cut short: its header promises {} bytes of samples, {} are there",
                          name, chunk_bytes, size - offset);
      }
      return;
    }
    offset += chunk_bytes + (chunk_bytes & 1);  // chunks are padded to even lengths
  }
}

}  // namespace csm::audio
