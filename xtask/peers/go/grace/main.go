// grace [OPTION | NETWORK | ADDRESS]...: an HTTP server that replaces itself on SIGUSR2, by
// facebookgo/grace. Its words are the daemon's, with which it can change places: TCP addresses are
// what has a port.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/facebookgo/grace/gracehttp"
)

func main() {
	// gracenet passes it on as it is, and so to a process whose pid it is not.
	os.Unsetenv("LISTEN_PID")
	body := fmt.Sprintf("pid=%d generation=0 tag=grace\n", os.Getpid())
	handler := func(answer http.ResponseWriter, _ *http.Request) {
		answer.Write([]byte(body))
	}
	var servers []*http.Server
	for _, word := range os.Args[1:] {
		if strings.Contains(word, ":") {
			server := &http.Server{Addr: word, Handler: http.HandlerFunc(handler)}
			servers = append(servers, server)
		}
	}
	if err := gracehttp.Serve(servers...); err != nil {
		log.Fatal(err)
	}
}
