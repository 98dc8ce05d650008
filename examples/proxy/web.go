package main

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/gobosh/bosh"
	"github.com/gobosh/bosh/internal/demo"
)

// A web is the HTTP side of the program.
type web struct {
	proxy   *proxy
	servers []*http.Server
	public  net.Listener
	admin   net.Listener // nil if there is none
	failed  chan error
	idle    time.Duration // how long a connection may be
	pair    *keyPair      // nil without TLS
}

// listen opens the ports and serves on them.
func listen(cfg *config, p *proxy, log *slog.Logger) (w *web, err error) {
	w = &web{proxy: p, idle: cfg.idle, failed: make(chan error, 2)}
	var tlsConfig *tls.Config
	if cfg.certFile != "" {
		pair := &keyPair{certFile: cfg.certFile, keyFile: cfg.keyFile, log: log}
		if err := pair.load(); err != nil {
			return nil, err
		}
		w.pair = pair
		tlsConfig = &tls.Config{GetCertificate: pair.get, MinVersion: tls.VersionTLS12}
	}
	public, err := w.publicHandler(cfg.path, cfg.publicURL)
	if err != nil {
		return nil, err
	}
	if w.public, err = net.Listen("tcp", cfg.http); err != nil {
		return nil, err
	}
	w.public = demo.WatchDescriptors(w.public, log)
	if cfg.admin != "" {
		if w.admin, err = net.Listen("tcp", cfg.admin); err != nil {
			w.public.Close()
			return nil, err
		}
		if reachable(w.admin.Addr()) {
			log.Warn("others than this machine can reach -admin, which asks nobody who they are", "admin", w.admin.Addr().String())
		}
		w.serve(w.admin, adminHosts(cfg.admin, cfg.adminHosts).only(w.adminHandler()), nil, log)
	}
	w.serve(w.public, public, tlsConfig, log)
	return w, nil
}

func (w *web) serve(ln net.Listener, h http.Handler, tlsConfig *tls.Config, log *slog.Logger) {
	s := &http.Server{
		Handler:           h,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       w.idle,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	demo.WatchIdle(s, log)
	w.servers = append(w.servers, s)
	go func() {
		err := error(nil)
		if tlsConfig != nil {
			err = s.ServeTLS(ln, "", "")
		} else {
			err = s.Serve(ln)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			w.failed <- err
		}
	}()
}

// The paths other than BOSH's.
const (
	healthPath   = "/healthz"
	hostMetaPath = "/.well-known/host-meta"
)

// publicHandler serves the paths for everyone.
func (w *web) publicHandler(path, publicURL string) (http.Handler, error) {
	mux := http.NewServeMux()
	mux.Handle(path, w.proxy.bosh)
	mux.Handle(path+"/{$}", w.proxy.bosh)
	mux.HandleFunc("GET "+healthPath, w.health)
	if publicURL != "" {
		meta, err := w.proxy.bosh.HostMeta(bosh.Link{Rel: bosh.LinkBOSH, Href: publicURL})
		if err != nil {
			return nil, err
		}
		mux.Handle(hostMetaPath, meta)
		mux.Handle(hostMetaPath+".json", meta)
	}
	return demo.CleanSlashes(demo.CheckPaths(mux, path, w.proxy.log)), nil
}

// adminHandler serves the paths for the operator.
func (w *web) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", &w.proxy.count)
	mux.Handle("/sessions", w.proxy.bosh.Monitor())
	if w.proxy.cluster != nil {
		mux.Handle("/nodes", w.proxy.cluster.Monitor())
	}
	mux.HandleFunc("GET "+healthPath, w.health)
	return mux
}

// health says whether the proxy takes new sessions.
func (w *web) health(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Cache-Control", "no-store")
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if w.proxy.bosh.Draining() {
		rw.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(rw, "draining\n")
		return
	}
	io.WriteString(rw, "ok\n")
}
