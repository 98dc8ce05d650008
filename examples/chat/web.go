package main

import (
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/gobosh/bosh"
)

//go:embed web
var pages embed.FS

// A web is what is served over HTTP and HTTPS: the page and BOSH.
type web struct {
	bosh      *bosh.Handler
	servers   []*http.Server
	listeners []net.Listener // one per server
}

// newWeb opens the HTTP ports.
func newWeb(cfg *config, srv *server) (*web, error) {
	w := &web{bosh: newBOSH(cfg, srv)}
	handler := w.handler()
	if cfg.http != "" {
		if err := w.listen(cfg.http, handler, nil, srv.log); err != nil {
			return nil, err
		}
	}
	if cfg.https != "" {
		host, _, _ := net.SplitHostPort(cfg.https)
		cert, err := certificate(cfg.certFile, cfg.keyFile, host)
		if err == nil {
			err = w.listen(cfg.https, handler, &tls.Config{Certificates: []tls.Certificate{cert}}, srv.log)
		}
		if err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

// handler returns the handler of HTTP and HTTPS alike.
func (w *web) handler() http.Handler {
	root, err := fs.Sub(pages, "web")
	if err != nil {
		panic(err) // the name is good
	}
	files := http.FileServerFS(root)
	mux := http.NewServeMux()
	mux.Handle("/http-bind", w.bosh)
	mux.Handle("/http-bind/", w.bosh)
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		files.ServeHTTP(rw, r)
	})
	return mux
}

func (w *web) listen(addr string, h http.Handler, tlsConfig *tls.Config, log *slog.Logger) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	w.listeners = append(w.listeners, ln)
	w.servers = append(w.servers, &http.Server{
		Handler:           h,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	})
	return nil
}

// serve serves in goroutines of its own. What fails goes to failed.
func (w *web) serve(failed chan<- error) {
	for i, s := range w.servers {
		go func() {
			err := error(nil)
			if s.TLSConfig != nil {
				err = s.ServeTLS(w.listeners[i], "", "")
			} else {
				err = s.Serve(w.listeners[i])
			}
			if !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}()
	}
}

// shutdown ends the sessions before the servers: a client hears of the end in
// the answer to a request that is still held, or to its next.
func (w *web) shutdown(ctx context.Context) error {
	err := w.bosh.Shutdown(ctx)
	for _, s := range w.servers {
		err = errors.Join(err, s.Shutdown(ctx))
	}
	return err
}

func (w *web) close() {
	w.bosh.Close()
	for i, s := range w.servers {
		s.Close()
		w.listeners[i].Close()
	}
}

// urls returns where the page is.
func (w *web) urls() []string {
	var urls []string
	for i, s := range w.servers {
		scheme := "http"
		if s.TLSConfig != nil {
			scheme = "https"
		}
		urls = append(urls, fmt.Sprintf("%s://%s/", scheme, w.listeners[i].Addr()))
	}
	return urls
}
