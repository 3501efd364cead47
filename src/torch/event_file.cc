#include "torch/event_file.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <protozero/pbf_writer.hpp>

#include "base/error.h"

namespace csm::train {
namespace {

// Field numbers of event.proto and summary.proto.
enum Event : protozero::pbf_tag_type {
  kWallTime = 1,
  kStep = 2,
  kFileVersion = 3,
  kSummary = 5,
  kSessionLog = 7
};
enum SessionLog : protozero::pbf_tag_type { kStatus = 1 };
enum Summary : protozero::pbf_tag_type { kValue = 1 };
enum Value : protozero::pbf_tag_type { kTag = 1, kSimpleValue = 2 };
constexpr int32_t kStart = 1;  // of SessionLog's status

double Now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string HostName() {
  std::array<char, 256> name = {};
  if (gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

std::string LittleEndian(uint64_t value, int num_bytes) {
  std::string bytes;
  for (int i = 0; i < num_bytes; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

// TFRecord masks its checksums, since the CRC of data that holds its own CRC is a weak one.
std::string MaskedCrc(std::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return LittleEndian(((crc >> 15) | (crc << 17)) + 0xA282EAD8U, 4);
}

}  // namespace

// Bit by bit: a training run writes a few hundred bytes a step.
uint32_t Crc32c(std::string_view bytes) {
  uint32_t crc = ~0U;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0x82F63B78U & (0U - (crc & 1U)));
  }
  return ~crc;
}

EventFile::EventFile(const std::filesystem::path& dir, int64_t first_step)
    : file_(dir / fmt::format("events.out.tfevents.{:.0f}.{}.{}", Now(), HostName(), getpid())) {
  out_.open(file_, std::ios::binary | std::ios::app);
  std::string version;
  protozero::pbf_writer(version).add_double(kWallTime, Now());
  protozero::pbf_writer(version).add_string(kFileVersion, "brain.Event:2");
  WriteRecord(version);
  std::string start;
  protozero::pbf_writer event(start);
  event.add_double(kWallTime, Now());
  event.add_int64(kStep, first_step);
  protozero::pbf_writer(event, kSessionLog).add_enum(kStatus, kStart);
  WriteRecord(start);
}

void EventFile::Write(int64_t step, std::span<const std::pair<std::string, double>> scalars) {
  std::string data;
  {
    protozero::pbf_writer event(data);
    event.add_double(kWallTime, Now());
    event.add_int64(kStep, step);
    protozero::pbf_writer summary(event, kSummary);
    for (const auto& [tag, number] : scalars) {
      protozero::pbf_writer value(summary, kValue);
      value.add_string(kTag, tag);
      value.add_float(kSimpleValue, static_cast<float>(number));
    }
  }
  WriteRecord(data);
}

void EventFile::WriteRecord(std::string_view event) {
  const std::string length = LittleEndian(event.size(), 8);
  out_ << length << MaskedCrc(length) << event << MaskedCrc(event) << std::flush;
  if (!out_) Fail<FileError>("cannot write {}: is the disk full?", file_.string());
}

}  // namespace csm::train
