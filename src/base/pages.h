// What the system may do with memory, by whole pages. Hints: without them the same bytes are there.
#ifndef CSM_BASE_PAGES_H_
#define CSM_BASE_PAGES_H_

#include <cstddef>
#include <span>

namespace csm {

/// The whole pages inside `part` leave memory: those of a file are read again if they are touched,
/// others are zero then.
void ReleasePages(std::span<const std::byte> part);

/// The memory is kept on pages of 2 MB: with 4 KB pages a core that streams through it waits for
/// the next translation every 64 lines.
void UseHugePages(std::span<const std::byte> part);

}  // namespace csm

#endif  // CSM_BASE_PAGES_H_
