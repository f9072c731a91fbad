// grace ADDRESS: an HTTP server that replaces itself on SIGUSR2, by facebookgo/grace.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/facebookgo/grace/gracehttp"
)

func main() {
	body := fmt.Sprintf("pid=%d generation=0 tag=grace\n", os.Getpid())
	handler := func(answer http.ResponseWriter, _ *http.Request) {
		answer.Write([]byte(body))
	}
	server := &http.Server{Addr: os.Args[1], Handler: http.HandlerFunc(handler)}
	if err := gracehttp.Serve(server); err != nil {
		log.Fatal(err)
	}
}
