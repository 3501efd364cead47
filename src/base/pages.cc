#include "base/pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace csm {
namespace {

void Advise(std::span<const std::byte> part, uintptr_t page, int advice) {
  const auto begin = reinterpret_cast<uintptr_t>(part.data());
  const uintptr_t first = (begin + page - 1) / page * page;
  const uintptr_t last = (begin + part.size()) / page * page;
  if (first < last) (void)madvise(reinterpret_cast<void*>(first), last - first, advice);
}

}  // namespace

void ReleasePages(std::span<const std::byte> part) {
  Advise(part, static_cast<uintptr_t>(sysconf(_SC_PAGESIZE)), MADV_DONTNEED);
}

void UseHugePages(std::span<const std::byte> part) {
  Advise(part, uintptr_t{2} << 20, MADV_HUGEPAGE);
}

}  // namespace csm
