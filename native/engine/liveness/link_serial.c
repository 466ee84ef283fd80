/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link_serial.c - heartbeats over a tty: no network at all. serial_frame.h makes datagrams of bytes.
 *
 * A line is slow, and what waits in its buffer is old. So a heartbeat is written only when all
 * before it has left; else it is dropped, and the next one carries newer times. A line that hangs up
 * (a USB adapter pulled out, the far end of a pty closed) is closed, and opened again when it is there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include "engine/liveness/link.h"

static const struct {
	uint32_t baud;
	speed_t speed;
} speeds[] = {{9600, B9600}, {19200, B19200}, {38400, B38400}, {57600, B57600}, {115200, B115200},
	      {230400, B230400}, {460800, B460800}, {921600, B921600}, {1000000, B1000000}, {3000000, B3000000}};

static bool find_speed(uint32_t baud, speed_t *speed)
{
	for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++)
		if (speeds[i].baud == baud) {
			*speed = speeds[i].speed;
			return true;
		}
	return false;
}

static bool resolve(const struct ftt_link *l, uint16_t port, struct ftt_destination *to, char *why, size_t why_len)
{
	speed_t speed;

	(void)port;
	memset(to, 0, sizeof(*to));
	if (l->device[0] == '/' && (!l->baud || find_speed(l->baud, &speed)))
		return true;
	snprintf(why, why_len, "device \"%s\" must be a path, and baud %u a usual speed from 9600 to 3000000: correct the link",
		 l->device, l->baud);
	return false;
}

/* A line has one other end. */
static bool same(const struct ftt_link *a, const struct ftt_link *b)
{
	(void)a;
	(void)b;
	return false;
}

/* Eight bits, no flow control, no signals, no modem: the bytes and nothing else. */
static bool make_raw(int fd, uint32_t baud)
{
	struct termios t;
	speed_t speed;

	if (tcgetattr(fd, &t))
		return false;
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL | CREAD;
	t.c_cflag &= (tcflag_t) ~(CRTSCTS | CSTOPB);
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	if (baud && find_speed(baud, &speed))
		cfsetspeed(&t, speed);
	return !tcsetattr(fd, TCSANOW, &t) && !tcflush(fd, TCIOFLUSH);
}

static bool open_line(struct ftt_endpoint *e)
{
	int error;

	e->fd = open(e->link->device, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	memset(&e->line, 0, sizeof(e->line));
	if (e->fd < 0)
		return false;
	if (make_raw(e->fd, e->link->baud))
		return true;
	error = errno;
	close(e->fd);
	e->fd = -1;
	errno = error;
	return false;
}

static void attach(struct ftt_endpoint *e)
{
	if (e->fd < 0)
		(void)open_line(e); /* in a second again */
}

/* A device that is not there may come; one that is no tty, or not ours to use, is a mistake. */
static bool open_first(struct ftt_endpoint *e, const struct ftt_liveness_config *cfg, char *why, size_t why_len)
{
	(void)cfg;
	if (open_line(e) || errno == ENOENT || errno == ENXIO || errno == ENODEV || errno == EIO)
		return true;
	snprintf(why, why_len, "serial device %s: %s; check the path, and that this user may use it", e->link->device,
		 strerror(errno));
	return false;
}

static bool send_framed(struct ftt_endpoint *e, const struct ftt_destination *to, const uint8_t *bytes, size_t len)
{
	uint8_t frame[FTT_SERIAL_FRAME_MAX];
	size_t n = ftt_serial_put(frame, bytes, len);
	int waiting = 0;

	(void)to;
	if (e->fd < 0 || !n || (!ioctl(e->fd, TIOCOUTQ, &waiting) && waiting))
		return false;
	return write(e->fd, frame, n) == (ssize_t)n; /* a part of a frame has no right CRC */
}

/* Reads what has come; -1 with EAGAIN when that is nothing. */
static int fill(struct ftt_endpoint *e)
{
	ssize_t n = read(e->fd, e->line.in, sizeof(e->line.in));

	if (n > 0) {
		e->line.at = 0;
		e->line.end = (size_t)n;
		return 0;
	}
	if (!n || (errno != EAGAIN && errno != EINTR)) { /* hung up; poll would tell it for ever */
		close(e->fd);
		e->fd = -1;
	}
	errno = EAGAIN;
	return -1;
}

static ssize_t receive(struct ftt_endpoint *e, uint8_t *bytes, size_t room)
{
	struct ftt_serial_line *l = &e->line;

	errno = EAGAIN;
	if (e->fd < 0 || (l->at == l->end && fill(e)))
		return -1;
	while (l->at < l->end) {
		int n = ftt_deframe(&l->deframer, l->in[l->at++]);

		if (n < 0) {
			errno = EBADMSG;
			return -1;
		}
		if (n && (size_t)n <= room) {
			memcpy(bytes, l->deframer.plain, (size_t)n);
			return n;
		}
	}
	errno = EINTR; /* perhaps there is more */
	return -1;
}

const struct ftt_link_kind ftt_link_serial = {
	.resolve = resolve, .same = same, .open = open_first, .attach = attach, .send = send_framed, .receive = receive,
};
