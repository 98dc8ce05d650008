//go:build interop

package interop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/gobosh/bosh"
)

// No answer is run by a browser, however a page of somebody else provokes it,
// and no page of somebody else reads one that it may not read. What runs all the
// same reports to /mark, and the script asks /marks who did.
func TestSafety(t *testing.T) {
	var mu sync.Mutex
	marks := make(map[string]int)
	attacker := http.NewServeMux()
	attacker.HandleFunc("/mark/{name}", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		marks[r.PathValue("name")]++
	})
	attacker.HandleFunc("/marks", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		for name := range marks {
			fmt.Fprintln(w, name)
		}
	})
	attacker.HandleFunc("/page", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<!DOCTYPE html><title>a page</title>")
	})
	evil := httptest.NewServer(attacker)
	defer evil.Close()
	friend := httptest.NewServer(attacker)
	defer friend.Close()

	echo := func(s *bosh.Stream) { io.Copy(s, s) }
	open := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: echo})
	defer open.Close()
	strict := bosh.New(bosh.Options{Framing: bosh.Elements, Serve: echo,
		AllowOrigin: func(origin string) bool { return origin == friend.URL }})
	defer strict.Close()
	mux := http.NewServeMux()
	mux.Handle("/open", open)
	mux.Handle("/strict", strict)
	// The same answers without their headers: here the attacks must succeed, or
	// else they prove nothing.
	mux.HandleFunc("/naked", func(w http.ResponseWriter, r *http.Request) {
		open.ServeHTTP(naked{w}, r)
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()

	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	s := &server{cmd: &exec.Cmd{Process: self}, http: srv.URL}
	for _, name := range []string{"attacks", "origins"} {
		t.Run(name, func(t *testing.T) {
			node(t, s, "safety.mjs", name, "INTEROP_EVIL="+evil.URL, "INTEROP_FRIEND="+friend.URL)
		})
	}
}

// naked takes the headers off that keep browsers from running an answer.
type naked struct{ http.ResponseWriter }

func (n naked) WriteHeader(status int) {
	n.strip()
	n.ResponseWriter.WriteHeader(status)
}

func (n naked) Write(b []byte) (int, error) {
	n.strip()
	return n.ResponseWriter.Write(b)
}

func (n naked) strip() {
	for name := range n.Header() {
		if strings.HasPrefix(name, "X-Content-Type") || strings.HasPrefix(name, "Content-Security") {
			n.Header().Del(name)
		}
	}
}

func (n naked) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// Hijack keeps the connection: on one that was taken over, answers have their
// headers from nobody else.
func (naked) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, http.ErrNotSupported }
