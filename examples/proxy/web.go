package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// A web is what is served over HTTP.
type web struct {
	proxy    *proxy
	draining atomic.Bool
	servers  []*http.Server
	public   net.Listener
	admin    net.Listener // nil if there is none
	failed   chan error
}

// listen opens the ports and serves on them.
func listen(cfg *config, p *proxy, log *slog.Logger) (w *web, err error) {
	w = &web{proxy: p, failed: make(chan error, 2)}
	var tlsConfig *tls.Config
	if cfg.certFile != "" {
		pair := &keyPair{certFile: cfg.certFile, keyFile: cfg.keyFile, log: log}
		if err := pair.load(); err != nil {
			return nil, err
		}
		tlsConfig = &tls.Config{GetCertificate: pair.get, MinVersion: tls.VersionTLS12}
	}
	if w.public, err = net.Listen("tcp", cfg.http); err != nil {
		return nil, err
	}
	if cfg.admin != "" {
		if w.admin, err = net.Listen("tcp", cfg.admin); err != nil {
			w.public.Close()
			return nil, err
		}
		w.serve(w.admin, w.adminHandler(), nil, log)
	}
	w.serve(w.public, w.publicHandler(cfg.path, cfg.publicURL), tlsConfig, log)
	return w, nil
}

func (w *web) serve(ln net.Listener, h http.Handler, tlsConfig *tls.Config, log *slog.Logger) {
	s := &http.Server{
		Handler:           h,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
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

// publicHandler serves what is for everyone.
func (w *web) publicHandler(path, publicURL string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(path, w.proxy.bosh)
	mux.Handle(path+"/{$}", w.proxy.bosh)
	mux.HandleFunc("GET /healthz", w.health)
	if publicURL != "" {
		hostMeta(mux, publicURL)
	}
	return mux
}

// adminHandler serves what is for the operator.
func (w *web) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", &w.proxy.count)
	mux.HandleFunc("GET /healthz", w.health)
	return mux
}

// health says whether the proxy takes new sessions.
func (w *web) health(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Cache-Control", "no-store")
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if w.draining.Load() {
		rw.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(rw, "draining\n")
		return
	}
	io.WriteString(rw, "ok\n")
}

// shutdown ends the sessions, and then the servers.
func (w *web) shutdown(ctx context.Context) error {
	w.draining.Store(true)
	err := w.proxy.shutdown(ctx)
	for _, s := range w.servers {
		if serr := s.Shutdown(ctx); serr != nil {
			s.Close()
			err = errors.Join(err, serr)
		}
	}
	return errors.Join(err, w.proxy.wait(ctx))
}

// relation is how a link to BOSH is called. XEP-0156, section 3.
const relation = "urn:xmpp:alt-connections:xbosh"

// hostMeta serves host-meta, by which clients find the way from a domain to
// BOSH: in XML and in JSON, for pages of all origins. XEP-0156.
func hostMeta(mux *http.ServeMux, url string) {
	type link struct {
		Rel  string `xml:"rel,attr" json:"rel"`
		Href string `xml:"href,attr" json:"href"`
	}
	links := []link{{relation, url}}
	asXML, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 XRD"`
		Links   []link   `xml:"Link"`
	}{Links: links})
	if err != nil {
		panic(err) // there are only strings
	}
	asJSON, err := json.Marshal(map[string]any{"links": links})
	if err != nil {
		panic(err)
	}
	for _, file := range []struct {
		name, contentType string
		data              []byte
	}{
		{"host-meta", "application/xrd+xml", append([]byte(xml.Header), asXML...)},
		{"host-meta.json", "application/json", asJSON},
	} {
		mux.HandleFunc("GET /.well-known/"+file.name, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", file.contentType)
			rw.Header().Set("Access-Control-Allow-Origin", "*")
			rw.Write(file.data)
		})
	}
}
