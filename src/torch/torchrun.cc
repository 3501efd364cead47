#include "torch/torchrun.h"

#include <charconv>
#include <cstdlib>
#include <limits>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "base/error.h"

namespace csm::train {
namespace {

std::string Variable(const Environment& environment, const char* name) {
  std::string value = environment(name);
  if (value.empty()) {
    Fail<Error>("torchrun started this process, but {} is not set: start it with torchrun", name);
  }
  return value;
}

int Number(const Environment& environment, const char* name, int least, int most) {
  const std::string text = Variable(environment, name);
  int value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end || value < least || value > most) {
    Fail<Error>("{} is '{}', where torchrun gives a number from {} to {}", name, text, least, most);
  }
  return value;
}

}  // namespace

std::string ProcessEnvironment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::optional<Torchrun> FindTorchrun(const Environment& environment) {
  if (environment("RANK").empty() || environment("WORLD_SIZE").empty()) return std::nullopt;
  constexpr int kMost = std::numeric_limits<int>::max();
  Torchrun found;
  found.world_size = Number(environment, "WORLD_SIZE", 1, kMost);
  found.rank = Number(environment, "RANK", 0, found.world_size - 1);
  if (found.world_size == 1) return std::nullopt;
  found.local_rank = Number(environment, "LOCAL_RANK", 0, found.world_size - 1);
  found.master_address = Variable(environment, "MASTER_ADDR");
  found.master_port = static_cast<uint16_t>(Number(environment, "MASTER_PORT", 1, 65535));
  found.has_store = environment("TORCHELASTIC_USE_AGENT_STORE") == "True";
  return found;
}

c10::intrusive_ptr<c10d::Store> OpenStore(const Torchrun& torchrun) {
  c10d::TCPStoreOptions options;
  options.port = torchrun.master_port;
  options.isServer = torchrun.rank == 0 && !torchrun.has_store;
  options.numWorkers = static_cast<size_t>(torchrun.world_size);
  return c10::make_intrusive<c10d::TCPStore>(torchrun.master_address, options);
}

}  // namespace csm::train
