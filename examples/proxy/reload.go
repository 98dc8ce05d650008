package main

import (
	"log/slog"
	"os"
	"os/signal"
	"sync"
)

// reloadAtSignal reads the certificate again at each signal, until stop is called.
func (w *web) reloadAtSignal(log *slog.Logger) (stop func()) {
	if reloadSignal == nil {
		return func() {}
	}
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, reloadSignal)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-signals:
				w.reload(log)
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(signals)
		close(done)
		running.Wait()
	}
}

// reload reads the certificate again.
func (w *web) reload(log *slog.Logger) {
	if w.pair == nil {
		log.Info("nothing to reload: there is no -cert")
		return
	}
	if err := w.pair.reload(); err != nil {
		log.Error("certificate not reloaded, the one before stays", "cause", err)
		return
	}
	leaf := w.pair.leaf()
	log.Info("certificate reloaded", "names", leaf.DNSNames, "until", leaf.NotAfter)
}
