package reqinfo

import "context"

// A LazyContext is a context made at the first request for it, and cancelled at the
// end of its owner. Its owner's lock guards it. Make it by NewLazyContext.
type LazyContext struct {
	ctx    context.Context         // the parent as long as cancel is nil
	cancel context.CancelCauseFunc // nil until somebody has asked
	stop   func() bool             // ends what Watch has begun; nil if that is nothing
}

// NewLazyContext returns a LazyContext whose context descends from parent.
func NewLazyContext(parent context.Context) *LazyContext { return &LazyContext{ctx: parent} }

// Context returns the context. If the owner has ended, over is the cause.
func (s *LazyContext) Context(over error) context.Context {
	if s.cancel == nil {
		s.ctx, s.cancel = context.WithCancelCause(s.ctx)
		if over != nil {
			s.cancel(over) // nobody has it yet
		}
	}
	return s.ctx
}

// Values returns a context with the values of the LazyContext's.
func (s *LazyContext) Values() context.Context { return s.ctx }

// Watch has f called, in a goroutine of its own, when ctx is done before the owner has
// ended. It may be called once. It costs nothing if ctx is never done.
func (s *LazyContext) Watch(ctx context.Context, f func()) {
	if ctx.Done() != nil {
		s.stop = context.AfterFunc(ctx, f)
	}
}

// Cancel returns the function to cancel the context. It may call others, so no lock
// should be held. It must be called once the owner has ended.
func (s *LazyContext) Cancel() context.CancelCauseFunc {
	stop, cancel := s.stop, s.cancel
	switch {
	case stop == nil && cancel == nil:
		return func(error) {}
	case stop == nil:
		return cancel
	}
	return func(cause error) {
		stop()
		if cancel != nil {
			cancel(cause)
		}
	}
}
