package main

import (
	"context"
	"crypto/tls"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/internal/demo"
)

//go:embed web
var pages embed.FS

// A web is the HTTP and HTTPS side: the page and BOSH.
type web struct {
	bosh  *bosh.Handler
	doors []door
}

// A door is a port of the web.
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
		tlsConfig := &tls.Config{}
		err := w.listen(cfg, cfg.https, tlsConfig, srv.log)
		if err == nil {
			err = w.identify(cfg, srv.domain, tlsConfig)
		}
		if err != nil {
			w.close()
			return nil, err
		}
	}
	handler := w.handler(srv)
	for _, d := range w.doors {
		d.server.Handler = handler
		demo.WatchIdle(d.server, srv.log)
	}
	return w, nil
}

// handler returns the handler of HTTP and HTTPS alike. Clients looking for the
// domain's BOSH get its address over HTTPS.
func (w *web) handler(srv *server) http.Handler {
	root, err := fs.Sub(pages, "web")
	if err != nil {
		panic(err) // the name is good
	}
	mux := http.NewServeMux()
	mux.Handle("/http-bind", w.bosh)
	mux.Handle("/http-bind/", w.bosh)
	mux.Handle("GET /about.json", w.about(srv))
	mux.Handle("/", demo.ServePage(root))
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
	return demo.CleanSlashes(srv.reloads.page(demo.CheckPaths(mux, "/http-bind", srv.log)))
}

func (w *web) listen(cfg *config, addr string, tlsConfig *tls.Config, log *slog.Logger) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	ln = demo.WatchDescriptors(ln, log)
	if !cfg.direct {
		// Without this, a pipelining client would wait for its own poll.
		ln = bosh.PipelineListener(ln)
	}
	d := door{Listener: ln, scheme: "http", server: &http.Server{
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       cfg.idle,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	if tlsConfig != nil {
		d.scheme = "https"
	}
	w.doors = append(w.doors, d)
	return nil
}

// identify gives the last opened door its certificate. A made one is for all
// names of the door.
func (w *web) identify(cfg *config, domain string, tlsConfig *tls.Config) error {
	host, _, _ := net.SplitHostPort(cfg.https)
	hosts := append(demo.Hosts(w.doors[len(w.doors)-1].Addr()), host, domain)
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	cert, err := certificate(cfg.certFile, cfg.keyFile, hosts)
	tlsConfig.Certificates = []tls.Certificate{cert}
	return err
}

// serve serves in goroutines of its own. Failures go to failed.
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
// the answer to its held request, or to its next.
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

// warning names the limits of browsers at an address of the page. They give a
// page the means to prove a password only if it came safely.
func (d door) warning(address string, insecure bool) string {
	u, err := url.Parse(address)
	if err != nil || d.scheme == "https" || insecure || demo.Loopback(u.Hostname()) {
		return ""
	}
	return ", for guests: browsers want HTTPS for passwords"
}

// about is the server's information for the page.
type about struct {
	Domain   string `json:"domain"`
	Guests   bool   `json:"guests"`
	Insecure bool   `json:"insecure"` // takes passwords in the clear
	HTTPS    string `json:"https"`    // port of the same over HTTPS; empty if there is none
}

func (w *web) about(srv *server) http.Handler {
	a := about{Domain: srv.domain, Guests: srv.anonymous, Insecure: srv.insecure}
	for _, d := range w.doors {
		if d.scheme == "https" {
			_, a.HTTPS, _ = net.SplitHostPort(d.Addr().String())
		}
	}
	text, err := json.Marshal(a)
	if err != nil {
		panic(err) // it is fit for JSON
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Write(text)
	})
}
