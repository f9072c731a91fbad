// tableflip ADDRESS: an HTTP server that replaces itself on SIGUSR2, by cloudflare/tableflip.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/cloudflare/tableflip"
)

func main() {
	upgrader, err := tableflip.New(tableflip.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer upgrader.Stop()

	go func() {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGUSR2)
		for range signals {
			if err := upgrader.Upgrade(); err != nil {
				log.Print(err)
			}
		}
	}()

	listener, err := upgrader.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	body := fmt.Sprintf("pid=%d generation=0 tag=tableflip\n", os.Getpid())
	handler := func(answer http.ResponseWriter, _ *http.Request) {
		answer.Write([]byte(body))
	}
	server := http.Server{Handler: http.HandlerFunc(handler)}
	go func() {
		if err := server.Serve(listener); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	if err := upgrader.Ready(); err != nil {
		log.Fatal(err)
	}
	<-upgrader.Exit()
	server.Shutdown(context.Background())
}
