package middleware

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/gin-contrib/cors"
	gingzip "github.com/gin-contrib/gzip"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	chicors "github.com/go-chi/cors"
	"github.com/labstack/echo/v4"
	echomiddleware "github.com/labstack/echo/v4/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	rscors "github.com/rs/cors"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
)

// timeout is that of each middleware that has one: shorter than the wait of the
// test's sessions.
const timeout = 4 * time.Second

// A row is a middleware, or several as they are used together.
type row struct {
	name  string
	wrap  func(h http.Handler, log io.Writer) http.Handler
	cuts  bool // it ends each request after timeout
	cors  bool // it answers for CORS by itself
	h2c   bool // it serves HTTP/2 without TLS
	twice bool // it compresses what is compressed, so that Options.Compress must be off
	noise bool // it complains that Direct has taken the connection over
}

func each(wrap func(http.Handler) http.Handler) func(http.Handler, io.Writer) http.Handler {
	return func(h http.Handler, _ io.Writer) http.Handler { return wrap(h) }
}

func chiBy(middlewares ...func(http.Handler) http.Handler) func(http.Handler, io.Writer) http.Handler {
	return each(func(h http.Handler) http.Handler {
		r := chi.NewRouter()
		r.Use(middlewares...)
		r.Handle("/http-bind", h)
		return r
	})
}

func echoBy(middlewares ...echo.MiddlewareFunc) func(http.Handler, io.Writer) http.Handler {
	return func(h http.Handler, log io.Writer) http.Handler {
		e := echo.New()
		e.Logger.SetOutput(log)
		e.Use(middlewares...)
		e.Any("/http-bind", echo.WrapHandler(h))
		return e
	}
}

func ginBy(middlewares func(log io.Writer) []gin.HandlerFunc) func(http.Handler, io.Writer) http.Handler {
	return func(h http.Handler, log io.Writer) http.Handler {
		gin.SetMode(gin.ReleaseMode)
		r := gin.New()
		r.Use(middlewares(log)...)
		r.Any("/http-bind", gin.WrapH(h))
		return r
	}
}

func ginUse(middlewares ...gin.HandlerFunc) func(http.Handler, io.Writer) http.Handler {
	return ginBy(func(io.Writer) []gin.HandlerFunc { return middlewares })
}

// late sets a header after the handler has returned, as session and timing
// middleware does.
func late(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		for i := range 50 {
			w.Header().Set("Server-Timing", "app;dur="+time.Duration(i).String())
			w.Header().Del("X-Nothing")
		}
	})
}

// recoverAll is what most recover middleware does: whatever it is, it is an error.
func recoverAll(h http.Handler, log io.Writer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				io.WriteString(log, "panic recovered\n")
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		h.ServeHTTP(w, r)
	})
}

func instrumented(h http.Handler) http.Handler {
	vec := func(name string) prometheus.ObserverVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name}, []string{"code", "method"})
	}
	h = promhttp.InstrumentHandlerDuration(vec("seconds"), h)
	h = promhttp.InstrumentHandlerResponseSize(vec("bytes"), h)
	h = promhttp.InstrumentHandlerInFlight(prometheus.NewGauge(prometheus.GaugeOpts{Name: "in_flight"}), h)
	return promhttp.InstrumentHandlerCounter(prometheus.NewCounterVec(prometheus.CounterOpts{Name: "n"}, []string{"code"}), h)
}

var rows = []row{
	{name: "none", wrap: each(func(h http.Handler) http.Handler { return h })},
	{name: "a header set after the handler", wrap: each(late)},
	{name: "a recover of everything", wrap: recoverAll},

	{name: "net/http StripPrefix", wrap: each(func(h http.Handler) http.Handler { return http.StripPrefix("/http-bind", h) })},
	{name: "net/http MaxBytesHandler", wrap: each(func(h http.Handler) http.Handler { return http.MaxBytesHandler(h, 1<<20) })},
	{name: "net/http TimeoutHandler", cuts: true, wrap: each(func(h http.Handler) http.Handler { return http.TimeoutHandler(h, timeout, "late") })},
	{name: "net/http CrossOriginProtection", wrap: each(func(h http.Handler) http.Handler {
		c := http.NewCrossOriginProtection()
		c.AddTrustedOrigin("https://example.com")
		return c.Handler(h)
	})},
	{name: "net/http HTTP/2 without TLS", h2c: true, wrap: each(func(h http.Handler) http.Handler { return h })},

	//lint:ignore SA1019 many services have RealIP still
	{name: "chi Logger, Recoverer, RequestID, RealIP", wrap: chiBy(chimiddleware.Logger, chimiddleware.Recoverer, chimiddleware.RequestID, chimiddleware.RealIP)},
	{name: "chi Compress", wrap: chiBy(chimiddleware.Compress(5, "text/xml"))},
	{name: "chi Timeout", cuts: true, wrap: chiBy(chimiddleware.Timeout(timeout))},
	{name: "chi cors", cors: true, wrap: chiBy(chicors.Handler(chicors.Options{AllowedOrigins: []string{"https://example.com"}, AllowedMethods: []string{"POST"}, AllowedHeaders: []string{"Content-Type"}}))},

	{name: "echo RequestLogger, RequestID, Recover, Secure", wrap: echoBy(echomiddleware.RequestLoggerWithConfig(echomiddleware.RequestLoggerConfig{
		LogStatus: true, LogLatency: true, LogResponseSize: true, LogValuesFunc: func(echo.Context, echomiddleware.RequestLoggerValues) error { return nil },
	}), echomiddleware.RequestID(), echomiddleware.Recover(), echomiddleware.Secure())},
	{name: "echo Gzip", twice: true, wrap: echoBy(echomiddleware.Gzip())},
	{name: "echo ContextTimeout", cuts: true, wrap: echoBy(echomiddleware.ContextTimeout(timeout))},
	{name: "echo CORS", cors: true, wrap: echoBy(echomiddleware.CORSWithConfig(echomiddleware.CORSConfig{AllowOrigins: []string{"https://example.com"}}))},
	{name: "echo BodyLimit", wrap: echoBy(echomiddleware.BodyLimit("1M"))},

	{name: "gin Logger, Recovery", wrap: ginBy(func(log io.Writer) []gin.HandlerFunc {
		return []gin.HandlerFunc{gin.LoggerWithWriter(io.Discard), gin.RecoveryWithWriter(log)}
	})},
	{name: "gin gzip", noise: true, wrap: ginUse(gingzip.Gzip(gingzip.DefaultCompression))},
	{name: "gin, a time-out in the context", cuts: true, wrap: ginUse(func(c *gin.Context) {
		ctx, cancel := context.WithTimeout(c.Request.Context(), timeout)
		defer cancel()
		c.Request = c.Request.WithContext(ctx)
		c.Next()
	})},
	{name: "gin cors", cors: true, wrap: ginUse(cors.New(cors.Config{AllowOrigins: []string{"https://example.com"}, AllowMethods: []string{"POST"}, AllowHeaders: []string{"Content-Type"}}))},

	{name: "otelhttp", wrap: each(func(h http.Handler) http.Handler { return otelhttp.NewHandler(h, "bosh") })},
	{name: "promhttp instrumentation", wrap: each(instrumented)},
	{name: "rs/cors", cors: true, wrap: each(rscors.New(rscors.Options{AllowedOrigins: []string{"https://example.com"}, AllowedMethods: []string{"POST"}, AllowedHeaders: []string{"Content-Type"}}).Handler)},
}
