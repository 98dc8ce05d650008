package main

import (
	"context"
	"net/http"
)

// A front is where BOSH clients come in.
type front struct {
	handler http.Handler
}

func newFront(cfg *config, srv *server) *front { return &front{handler: http.NotFoundHandler()} }

func (f *front) serve() error                       { return nil }
func (f *front) shutdown(ctx context.Context) error { return nil }
func (f *front) close()                             {}
