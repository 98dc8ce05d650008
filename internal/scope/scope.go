// Package scope is for those that have a context to offer which hardly anybody
// asks for.
package scope

import "context"

// A Scope is a context that is made when it is first asked for, and cancelled
// at the end of its owner. Its owner's lock guards it. Make it by New.
type Scope struct {
	ctx    context.Context         // the parent as long as cancel is nil
	cancel context.CancelCauseFunc // nil until somebody has asked
	stop   func() bool             // ends what Watch has begun; nil if that is nothing
}

// New returns a Scope whose context descends from parent.
func New(parent context.Context) *Scope { return &Scope{ctx: parent} }

// Context returns the context. If the owner has ended, over is the cause.
func (s *Scope) Context(over error) context.Context {
	if s.cancel == nil {
		s.ctx, s.cancel = context.WithCancelCause(s.ctx)
		if over != nil {
			s.cancel(over) // nobody has it yet
		}
	}
	return s.ctx
}

// Values returns a context that has the values of the Scope's.
func (s *Scope) Values() context.Context { return s.ctx }

// Watch has f called, in a goroutine of its own, when ctx is done before the owner has
// ended. It may be called once. It costs nothing if ctx is never done.
func (s *Scope) Watch(ctx context.Context, f func()) {
	if ctx.Done() != nil {
		s.stop = context.AfterFunc(ctx, f)
	}
}

// Cancel returns the function that cancels the context, which may call others,
// so that no lock should be held. It must be called once the owner has ended.
func (s *Scope) Cancel() context.CancelCauseFunc {
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
