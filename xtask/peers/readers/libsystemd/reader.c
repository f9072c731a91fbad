/* reader: an HTTP server on the sockets that libsystemd's sd_listen_fds_with_names(3) finds. It
 * says READY=1 when it has them, and tells at /status what they are. */

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define MOST 16

/* Appends a line: name, network and address. */
static void describe(int fd, const char *name, char *to, size_t room)
{
	union {
		struct sockaddr any;
		struct sockaddr_in inet;
		struct sockaddr_un path;
	} address = { 0 };
	socklen_t length = sizeof address;
	char host[INET_ADDRSTRLEN];

	getsockname(fd, &address.any, &length);
	if (sd_is_socket_inet(fd, AF_INET, SOCK_STREAM, 1, 0) > 0) {
		inet_ntop(AF_INET, &address.inet.sin_addr, host, sizeof host);
		snprintf(to, room, "%s tcp %s:%d\n", name, host,
			 ntohs(address.inet.sin_port));
	} else if (sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) > 0) {
		snprintf(to, room, "%s unix %s\n", name, address.path.sun_path);
	} else {
		snprintf(to, room, "%s other\n", name);
	}
}

static void serve(int client, const char *line, const char *status)
{
	/* Nobody else is served meanwhile. */
	struct timeval limit = { .tv_sec = 1 };
	char request[4096] = "", answer[8192];
	size_t length = 0;

	setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	while (!strstr(request, "\r\n\r\n")) {
		ssize_t more = read(client, request + length,
				    sizeof request - 1 - length);
		if (more <= 0)
			return;
		length += more;
		request[length] = 0;
	}
	const char *body = strncmp(request, "GET /status ", 12) ? line : status;
	int size = snprintf(answer, sizeof answer,
			    "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n"
			    "Connection: close\r\n\r\n%s", strlen(body), body);
	send(client, answer, size, MSG_NOSIGNAL);
}

int main(void)
{
	struct pollfd fds[MOST];
	char line[64], status[4096] = "";
	char **names;
	int count = sd_listen_fds_with_names(0, &names);

	if (count <= 0 || count > MOST) {
		fprintf(stderr, "sd_listen_fds_with_names: %d\n", count);
		return 1;
	}
	snprintf(line, sizeof line, "pid=%d generation=0 tag=libsystemd\n",
		 getpid());
	strcpy(status, line);
	for (int i = 0; i < count; i++) {
		size_t length = strlen(status);
		fds[i].fd = SD_LISTEN_FDS_START + i;
		fds[i].events = POLLIN;
		describe(fds[i].fd, names[i], status + length,
			 sizeof status - length);
	}
	sd_notify(0, "READY=1");
	while (poll(fds, count, -1) > 0) {
		for (int i = 0; i < count; i++) {
			int client;
			/* It may be the predecessor's by now: then it says so, and
			 * does not wait, as the predecessor has set it so. */
			if (!fds[i].revents || (client = accept(fds[i].fd, NULL, NULL)) < 0)
				continue;
			serve(client, line, status);
			close(client);
		}
	}
	return 1;
}
