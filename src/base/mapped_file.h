// A file mapped read-only into memory.
#ifndef CSM_BASE_MAPPED_FILE_H_
#define CSM_BASE_MAPPED_FILE_H_

#include <cstddef>
#include <filesystem>
#include <span>

namespace csm {

/// Owns the mapping; bytes() stays valid and constant for the object's life. An empty file gives
/// an empty span. Throws FileError if the file cannot be opened or mapped.
class MappedFile {
 public:
  explicit MappedFile(std::filesystem::path path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }

  /// Gives the whole pages inside `part` back to the system: they no longer count as resident
  /// and are read from the file again if touched.
  void Release(std::span<const std::byte> part) const;

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

}  // namespace csm

#endif  // CSM_BASE_MAPPED_FILE_H_
