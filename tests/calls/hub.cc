// SPDX-License-Identifier: Apache-2.0
// hub.cc - a server with a thread for each client: lines are numbered, and each answer tells what others have said. Argument: its port.
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <netinet/in.h>
#include <random>
#include <shared_mutex>
#include <string>
#include <sys/random.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <unordered_map>
#include <vector>

static std::mutex mutex;
static std::condition_variable grown;
static std::shared_mutex names_lock;
static std::unordered_map<int, std::string> names;
static std::vector<std::string> said;

static std::string answer(int client, const std::string &line)
{
	std::string all;
	{
		std::shared_lock<std::shared_mutex> reading(names_lock);
		for (auto &one : names)
			all += one.second + ";";
	}
	std::unique_lock<std::mutex> lock(mutex);
	said.push_back(line);
	grown.notify_all();
	size_t number = said.size();
	bool more = grown.wait_for(lock, std::chrono::microseconds(300), [&] { return said.size() > number; });
	return std::to_string(client) + " " + std::to_string(number) + " of " + std::to_string(said.size()) + (more ? " more " : " alone ") +
	       said[(number * 7) % said.size()] + " " + all + "\n";
}

static void serve(int client)
{
	std::string rest;
	char piece[512];

	for (ssize_t n; (n = read(client, piece, sizeof piece)) > 0;) {
		rest.append(piece, (size_t)n);
		for (size_t end; (end = rest.find('\n')) != std::string::npos; rest.erase(0, end + 1)) {
			std::string line = rest.substr(0, end);
			uint32_t drawn;
			if (getrandom(&drawn, sizeof drawn, 0) != sizeof drawn)
				abort();
			{
				std::unique_lock<std::shared_mutex> writing(names_lock);
				names[client] = line + "/" + std::to_string(drawn);
			}
			std::string text = answer(client, line);
			if (write(client, text.data(), text.size()) != (ssize_t)text.size())
				break;
		}
	}
	close(client);
}

int main(int argc, char **argv)
{
	sockaddr_in at{};
	int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

	if (argc < 2)
		return 1;
	at.sin_family = AF_INET;
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	at.sin_port = htons((uint16_t)atoi(argv[1]));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (sockaddr *)&at, sizeof at) || listen(listener, 64))
		return 1;
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		int client = accept(listener, nullptr, nullptr);
		if (client >= 0)
			std::thread(serve, client).detach();
		else if (errno != ECONNABORTED)
			return 1;
	}
}
