package scope

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
)

type key struct{}

func TestScope(t *testing.T) {
	parent := context.WithValue(t.Context(), key{}, "value")
	cause := errors.New("over")

	s := New(parent)
	ctx := s.Context(nil)
	assert.Equal(t, "value", ctx.Value(key{}))
	assert.Equal(t, "value", s.Values().Value(key{}))
	assert.NoError(t, ctx.Err())
	assert.Equal(t, ctx, s.Context(nil))
	s.Cancel()(cause)
	assert.Equal(t, cause, context.Cause(ctx))
	assert.Equal(t, ctx, s.Context(cause))

	s = New(parent)
	assert.Equal(t, parent, s.Values())
	s.Cancel()(cause)
	ctx = s.Context(cause)
	assert.Equal(t, cause, context.Cause(ctx))
	assert.Equal(t, context.Canceled, ctx.Err())
	assert.NoError(t, parent.Err())
}
