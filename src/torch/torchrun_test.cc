#include "torch/torchrun.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <map>

#include "csm/csm.hpp"

namespace csm::train {
namespace {

using Variables = std::map<std::string, std::string>;

// What torchrun 2.11 sets for the last of 2 x 4 processes.
const Variables kLast = {{"RANK", "7"},
                         {"WORLD_SIZE", "8"},
                         {"LOCAL_RANK", "3"},
                         {"MASTER_ADDR", "10.0.0.1"},
                         {"MASTER_PORT", "29400"},
                         {"TORCHELASTIC_USE_AGENT_STORE", "True"}};

std::optional<Torchrun> Find(const Variables& variables) {
  return FindTorchrun([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? std::string() : found->second;
  });
}

std::string Complaint(Variables variables, const std::string& name, const std::string& value) {
  variables[name] = value;
  try {
    Find(variables);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(TorchrunTest, FindsItsPlace) {
  const auto found = Find(kLast);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->rank, 7);
  EXPECT_EQ(found->world_size, 8);
  EXPECT_EQ(found->local_rank, 3);
  EXPECT_EQ(found->master_address, "10.0.0.1");
  EXPECT_EQ(found->master_port, 29400);
  EXPECT_TRUE(found->has_store);
}

TEST(TorchrunTest, OneProcessIsAlone) {
  EXPECT_FALSE(Find({}).has_value());
  EXPECT_FALSE(Find({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).has_value());
}

TEST(TorchrunTest, SaysWhichVariableIsWrong) {
  EXPECT_EQ(Complaint(kLast, "RANK", "8"),
            "RANK is '8', where torchrun gives a number from 0 to 7");
  EXPECT_NE(Complaint(kLast, "WORLD_SIZE", "2x").find("WORLD_SIZE is '2x'"), std::string::npos);
  EXPECT_NE(Complaint(kLast, "MASTER_PORT", "70000").find("1 to 65535"), std::string::npos);
  EXPECT_NE(Complaint(kLast, "LOCAL_RANK", "").find("LOCAL_RANK is not set"), std::string::npos);
  EXPECT_NE(Complaint(kLast, "MASTER_ADDR", "").find("MASTER_ADDR is not set"), std::string::npos);
}

uint16_t FreePort() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(socket, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(socket);
  return ntohs(address.sin_port);
}

TEST(TorchrunTest, ProcessesShareAStore) {
  Torchrun place{.rank = 0, .world_size = 2, .master_address = "127.0.0.1"};
  place.master_port = FreePort();
  const auto first = std::async(std::launch::async, [place] {
    const auto store = OpenStore(place);  // answers, and waits until all are there
    store->set("name", std::vector<uint8_t>{1, 2, 3});
    return store;  // lives until the other has read
  });
  place.rank = 1;
  EXPECT_EQ(OpenStore(place)->get("name"), (std::vector<uint8_t>{1, 2, 3}));
}

}  // namespace
}  // namespace csm::train
