// go-systemd: an HTTP server on the sockets that coreos/go-systemd finds. It says READY=1 when it
// has them, and tells at /status what they are.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

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
	failed := make(chan error)
	for _, listener := range listeners {
		go func(listener net.Listener) { failed <- http.Serve(listener, nil) }(listener)
	}
	if _, err := daemon.SdNotify(true, daemon.SdNotifyReady); err != nil {
		log.Fatal(err)
	}
	log.Fatal(<-failed)
}
