// Hugging Face's local cache, by huggingface_hub's rules (constants.py, file_download.py): the
// folder models--ORG--NAME holds refs/main, a file with a commit's hash, and snapshots/HASH/.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>
#include <system_error>

#include "base/atomic_file.h"
#include "base/error.h"
#include "checkpoint/model_dir.h"
#include "checkpoint/safetensors_header.h"

namespace csm::checkpoint {
namespace {

namespace fs = std::filesystem;

std::string Environment(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

std::string Home() { return Environment("HOME", "."); }

bool IsNameChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// "~" and "$NAME" or "${NAME}" as Python's expanduser and expandvars; unknown ones stay.
std::string Expand(std::string text) {
  if (text == "~" || text.starts_with("~/")) text.replace(0, 1, Home());
  std::string expanded;
  for (size_t i = 0; i < text.size();) {
    const bool braced = text.compare(i, 2, "${") == 0;
    const size_t begin = i + (braced ? 2 : 1);
    size_t end = begin;
    while (text[i] == '$' && end < text.size() && IsNameChar(text[end])) ++end;
    const bool closed = !braced || (end < text.size() && text[end] == '}');
    const char* value = nullptr;
    if (end > begin && closed) value = std::getenv(text.substr(begin, end - begin).c_str());
    if (value != nullptr) {
      expanded += value;
      i = end + (braced ? 1 : 0);
    } else {
      expanded += text[i++];
    }
  }
  return expanded;
}

fs::path HubCache() {
  const std::string cache = Environment("XDG_CACHE_HOME", Home() + "/.cache");
  const std::string hf_home = Expand(Environment("HF_HOME", cache + "/huggingface"));
  const std::string legacy = Environment("HUGGINGFACE_HUB_CACHE", hf_home + "/hub");
  return Expand(Environment("HF_HUB_CACHE", legacy));
}

// "name" or "organization/name", each of at most 96 of [A-Za-z0-9_.-].
bool IsRepoId(std::string_view id) {
  const auto is_part = [](std::string_view part) {
    return !part.empty() && part.size() <= 96 && IsNameChar(part.front()) &&
           IsNameChar(part.back()) && std::all_of(part.begin(), part.end(), [](char c) {
             return IsNameChar(c) || c == '.' || c == '-';
           });
  };
  if (id.find("--") != id.npos || id.find("..") != id.npos) return false;
  const size_t slash = id.find('/');
  if (slash == id.npos) return is_part(id);
  return is_part(id.substr(0, slash)) && is_part(id.substr(slash + 1));
}

fs::path FindSnapshot(const fs::path& repository) {
  std::error_code error;
  const fs::path ref = repository / "refs" / "main";
  if (!fs::is_regular_file(ref, error)) return {};
  const std::string hash = ReadFile(ref, 1024);
  const bool is_hash = !hash.empty() && std::all_of(hash.begin(), hash.end(), IsNameChar);
  if (!is_hash) {
    Fail<FormatError>("{} holds {}, expected a commit's hash", ref.string(), QuoteName(hash));
  }
  const fs::path snapshot = repository / "snapshots" / hash;
  return fs::is_directory(snapshot, error) ? snapshot : fs::path();
}

}  // namespace

fs::path ResolveModelDir(const fs::path& path) {
  const std::string path_or_name = path.string();
  std::error_code error;
  if (fs::is_directory(path, error)) return path;
  if (fs::is_regular_file(path, error) && path.extension() == ".gguf") return path;
  if (fs::exists(path, error)) {
    Fail<FileError>("{} is a file, expected the folder of a checkpoint or a .gguf file",
                    path_or_name);
  }
  if (path.extension() == ".gguf") Fail<FileError>("there is no file {}", QuoteName(path_or_name));
  if (!IsRepoId(path_or_name)) {
    Fail<FileError>("there is no folder {}", QuoteName(path_or_name));
  }
  std::string folder = "models--" + path_or_name;
  if (const size_t slash = folder.find('/'); slash != folder.npos) folder.replace(slash, 1, "--");
  const fs::path repository = HubCache() / folder;
  fs::path snapshot = FindSnapshot(repository);
  if (snapshot.empty()) {
    Fail<FileError>(
        "there is no model {}, neither a folder of that name nor a download in {} "
        "(\"hf download {}\" makes one)",
        QuoteName(path_or_name), repository.string(), path_or_name);
  }
  return snapshot;
}

std::string ModelName(const fs::path& dir) {
  std::error_code error;
  fs::path path = fs::absolute(dir, error).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // DIR/ is DIR
  constexpr std::string_view kPrefix = "models--";
  const std::string repository = path.parent_path().parent_path().filename().string();
  if (path.parent_path().filename() != "snapshots" || !repository.starts_with(kPrefix)) {
    return path.filename().string();
  }
  const std::string name = repository.substr(kPrefix.size());
  const size_t dashes = name.find("--");
  return dashes == name.npos ? name : name.substr(0, dashes) + '/' + name.substr(dashes + 2);
}

}  // namespace csm::checkpoint
