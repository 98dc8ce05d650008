// Package knobs has settings of a boshclient.Conn for package boshtest, not for
// applications. It goes by the context of Dial and Resume.
package knobs

import "context"

// Knobs are off by default.
type Knobs struct {
	// Manual keeps the Conn from sending requests without payloads by itself: it
	// sends one for each Wake. So the client of a test is away until it is told
	// otherwise, and the number of requests is exact.
	Manual bool
}

type key struct{}

// With returns a context with k.
func With(ctx context.Context, k Knobs) context.Context { return context.WithValue(ctx, key{}, k) }

// From returns the Knobs of ctx.
func From(ctx context.Context) Knobs {
	k, _ := ctx.Value(key{}).(Knobs)
	return k
}
