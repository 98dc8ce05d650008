package reqinfo

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
)

type key struct{}

func TestScope(t *testing.T) {
	parent := context.WithValue(t.Context(), key{}, "value")
	cause := errors.New("over")

	s := NewLazyContext(parent)
	ctx := s.Context(nil)
	assert.Equal(t, "value", ctx.Value(key{}))
	assert.Equal(t, "value", s.Values().Value(key{}))
	assert.NoError(t, ctx.Err())
	assert.Equal(t, ctx, s.Context(nil))
	s.Cancel()(cause)
	assert.Equal(t, cause, context.Cause(ctx))
	assert.Equal(t, ctx, s.Context(cause))

	s = NewLazyContext(parent)
	assert.Equal(t, parent, s.Values())
	s.Cancel()(cause)
	ctx = s.Context(cause)
	assert.Equal(t, cause, context.Cause(ctx))
	assert.Equal(t, context.Canceled, ctx.Err())
	assert.NoError(t, parent.Err())
}

func TestWatch(t *testing.T) {
	for _, asked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			watch := func() (s *LazyContext, cancel context.CancelFunc) {
				parent, cancel := context.WithCancel(t.Context())
				s = NewLazyContext(parent)
				if asked {
					s.Context(nil)
				}
				s.Watch(parent, func() { calls++ })
				return s, cancel
			}
			_, cancel := watch()
			synctest.Wait()
			assert.Zero(t, calls)
			cancel()
			synctest.Wait()
			assert.Equal(t, 1, calls)

			s, cancel := watch()
			s.Cancel()(nil)
			cancel()
			synctest.Wait()
			assert.Equal(t, 1, calls, "the owner has ended")
			assert.Error(t, s.Context(context.Canceled).Err())

			s = NewLazyContext(context.Background())
			s.Watch(context.Background(), nil)
			s.Cancel()(nil)
		})
	}
}
