// go-systemd: an HTTP server on the sockets that coreos/go-systemd finds. It says READY=1 when it
// has them, and tells at /status what they are. At SIGTERM it answers those who are connected, and
// ends.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/activation"
	"github.com/coreos/go-systemd/daemon"
)

func main() {
	line := fmt.Sprintf("pid=%d generation=0 tag=go-systemd\n", os.Getpid())
	status := line
	var listeners []net.Listener
	for _, file := range activation.Files(true) {
		listener, err := net.FileListener(file)
		if err != nil {
			log.Fatal(err)
		}
		address := listener.Addr()
		status += fmt.Sprintf("%s %s %s\n", file.Name(), address.Network(), address)
		listeners = append(listeners, listener)
	}
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		answer.Write([]byte(line))
	})
	http.HandleFunc("/status", func(answer http.ResponseWriter, _ *http.Request) {
		answer.Write([]byte(status))
	})
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	server := http.Server{}
	for _, listener := range listeners {
		go func(listener net.Listener) {
			if err := server.Serve(listener); err != http.ErrServerClosed {
				log.Fatal(err)
			}
		}(listener)
	}
	if _, err := daemon.SdNotify(true, daemon.SdNotifyReady); err != nil {
		log.Fatal(err)
	}
	<-stop.Done()
	if err := server.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
}
