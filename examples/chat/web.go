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
	"github.com/gobosh/bosh/internal/slashes"
	"github.com/gobosh/bosh/internal/webclient"
)

//go:embed web
var pages embed.FS

// A web is what is served over HTTP and HTTPS: the page and BOSH.
type web struct {
	bosh  *bosh.Handler
	doors []door
}

// A door is a port that the web is served on.
type door struct {
	net.Listener
	server *http.Server
	scheme string
}

// newWeb opens the HTTP ports.
func newWeb(cfg *config, srv *server) (*web, error) {
	w := &web{bosh: newBOSH(cfg, srv)}
	if cfg.http != "" {
		if err := w.listen(cfg, cfg.http, nil, srv.log); err != nil {
			return nil, err
		}
	}
	if cfg.https != "" {
		host, _, _ := net.SplitHostPort(cfg.https)
		cert, err := certificate(cfg.certFile, cfg.keyFile, host)
		if err == nil {
			err = w.listen(cfg, cfg.https, &tls.Config{Certificates: []tls.Certificate{cert}}, srv.log)
		}
		if err != nil {
			w.close()
			return nil, err
		}
	}
	handler := w.handler(srv)
	for _, d := range w.doors {
		d.server.Handler = handler
	}
	return w, nil
}

// handler returns the handler of HTTP and HTTPS alike. What it tells clients
// that look for the domain's BOSH is where it is over HTTPS.
func (w *web) handler(srv *server) http.Handler {
	root, err := fs.Sub(pages, "web")
	if err != nil {
		panic(err) // the name is good
	}
	mux := http.NewServeMux()
	mux.Handle("/http-bind", w.bosh)
	mux.Handle("/http-bind/", w.bosh)
	mux.Handle("/", webclient.Serve(root))
	for _, d := range w.doors {
		if d.scheme != "https" {
			continue
		}
		_, port, _ := net.SplitHostPort(d.Addr().String())
		meta, err := w.bosh.HostMeta(bosh.Link{Rel: bosh.LinkBOSH, Href: "https://" + net.JoinHostPort(srv.domain, port) + "/http-bind"})
		if err != nil {
			srv.log.Warn("clients cannot look for BOSH", "err", err)
			continue
		}
		mux.Handle("/.well-known/host-meta", meta)
		mux.Handle("/.well-known/host-meta.json", meta)
	}
	return slashes.Clean(mux)
}

func (w *web) listen(cfg *config, addr string, tlsConfig *tls.Config, log *slog.Logger) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if !cfg.direct {
		// A client that pipelines would wait for its own poll without this.
		ln = bosh.PipelineListener(ln)
	}
	d := door{Listener: ln, scheme: "http", server: &http.Server{
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	if tlsConfig != nil {
		d.scheme = "https"
	}
	w.doors = append(w.doors, d)
	return nil
}

// serve serves in goroutines of its own. What fails goes to failed.
func (w *web) serve(failed chan<- error) {
	for _, d := range w.doors {
		go func() {
			var err error
			if d.scheme == "https" {
				err = d.server.ServeTLS(d, "", "")
			} else {
				err = d.server.Serve(d)
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
	for _, d := range w.doors {
		err = errors.Join(err, d.server.Shutdown(ctx))
	}
	return err
}

func (w *web) close() {
	w.bosh.Close()
	for _, d := range w.doors {
		d.server.Close()
		d.Close()
	}
}

// urls returns where the page is.
func (w *web) urls() []string {
	var urls []string
	for _, d := range w.doors {
		urls = append(urls, fmt.Sprintf("%s://%s/", d.scheme, d.Addr()))
	}
	return urls
}
