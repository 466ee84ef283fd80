/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.c - answers each piece that it reads with its number, among all clients, and its size: so its answers depend on in which order
 * clients come and speak, and in which pieces.
 *
 *	serve PORT epoll|edge|poll|select CLIENTS
 *
 * It ends when so many clients have come and gone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

struct client {
	int fd, number;
};

static int listener, left, came, pieces;
static bool edge;
static struct client clients[64], own;

static struct client *welcome(void)
{
	struct sockaddr_in from;
	socklen_t n = sizeof(from);
	int fd = accept4(listener, (struct sockaddr *)&from, &n, SOCK_NONBLOCK);
	char text[80];

	if (fd < 0)
		return NULL;
	(void)!write(fd, text, (size_t)snprintf(text, sizeof(text), "client %d from %d\n", came, ntohs(from.sin_port)));
	clients[came] = (struct client){fd, came};
	return &clients[came++];
}

static void hear(struct client *c)
{
	char text[512];
	ssize_t n;

	do {
		n = read(c->fd, text, 100);
		if (n > 0)
			(void)!write(c->fd, text, (size_t)snprintf(text, sizeof(text), "%d: %zd of %d\n", pieces++, n, c->number));
	} while (edge && n > 0);
	if (n >= 0 && !(edge && n))
		left += !n;
	if (!n) {
		close(c->fd);
		c->fd = -1;
	}
}

static void by_epoll(int most)
{
	struct epoll_event e = {.events = EPOLLIN | (edge ? EPOLLET : 0), .data.ptr = &own}, events[16];
	int epoll = epoll_create1(0);

	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
	while (left < most) {
		int n = epoll_wait(epoll, events, 16, 1000);

		for (int i = 0; i < n; i++) {
			struct client *c = events[i].data.ptr;

			if (c != &own) {
				hear(c);
				continue;
			}
			while ((c = welcome())) {
				e.data.ptr = c;
				epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
			}
		}
	}
}

static void by_poll(int most)
{
	while (left < most) {
		struct pollfd fds[65] = {{.fd = listener, .events = POLLIN}};

		for (int i = 0; i < came; i++)
			fds[i + 1] = (struct pollfd){.fd = clients[i].fd, .events = POLLIN};
		poll(fds, (nfds_t)came + 1, 1000);
		for (int i = 0, n = came; i < n; i++)
			if (fds[i + 1].revents)
				hear(&clients[i]);
		if (fds[0].revents)
			welcome();
	}
}

static void by_select(int most)
{
	while (left < most) {
		struct timeval limit = {1, 0};
		fd_set in;

		FD_ZERO(&in);
		FD_SET(listener, &in);
		for (int i = 0; i < came; i++)
			if (clients[i].fd >= 0)
				FD_SET(clients[i].fd, &in);
		if (select(FD_SETSIZE, &in, NULL, NULL, &limit) <= 0)
			continue;
		for (int i = 0, n = came; i < n; i++)
			if (clients[i].fd >= 0 && FD_ISSET(clients[i].fd, &in))
				hear(&clients[i]);
		if (FD_ISSET(listener, &in))
			welcome();
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int yes = 1;

	if (argc != 4)
		return 2;
	at.sin_port = htons((uint16_t)atoi(argv[1]));
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 16))
		return 1;
	edge = !strcmp(argv[2], "edge");
	(strcmp(argv[2], "poll") ? strcmp(argv[2], "select") ? by_epoll : by_select : by_poll)(atoi(argv[3]));
	return 0;
}
