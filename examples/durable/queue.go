package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gobosh/bosh"
)

// A queue holds the events of all users, until they have them.
type queue struct {
	js     jetstream.JetStream
	stream jetstream.Stream

	mu     sync.Mutex
	taking map[string]chan struct{} // by user, of capacity 1: who has it takes the queue over
}

const (
	subjects = "events." // and the user's name
	keep     = 30 * 24 * time.Hour

	// ahead is how many unproven events a client may have been sent. The next ones
	// wait in the queue.
	ahead = 1000
)

func newQueue(ctx context.Context, nc *nats.Conn, replicas int) (*queue, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: "EVENTS", Subjects: []string{subjects + "*"}, Storage: jetstream.FileStorage, Replicas: replicas,
		MaxAge:     keep,
		Duplicates: 2 * time.Minute, // how long a publisher may repeat an event by its id
	})
	return &queue{js: js, stream: stream, taking: make(map[string]chan struct{})}, err
}

// publish adds an event for a user. When it returns nil the event is stored. With
// an id it is safe to try again.
func (q *queue) publish(ctx context.Context, user, id string, data []byte) error {
	m := &nats.Msg{Subject: subjects + user, Data: data}
	var opts []jetstream.PublishOpt
	if id != "" {
		opts = append(opts, jetstream.WithMsgID(user+" "+id))
	}
	_, err := q.js.PublishMsg(ctx, m, opts...)
	return err
}

// An event is sent to a page. Its id grows from each event of a user to the next. By
// it a page knows the last one it has had: events from before a crash may come again
// after it.
type event struct {
	ID   uint64          `json:"id"`
	Data json.RawMessage `json:"data"`
}

// take takes a user's queue over from any former client. Events not proven to be with
// that client come first. A user has one client at a time; the former one notices by
// the end of its consumer.
func (q *queue) take(ctx context.Context, user string) (jetstream.Consumer, error) {
	done, err := q.alone(ctx, user)
	if err != nil {
		return nil, err
	}
	defer done()
	cfg := jetstream.ConsumerConfig{
		Durable: "user-" + user, FilterSubject: subjects + user,
		AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: ahead,
		AckWait: 24 * time.Hour, // a client that lives has time; of one that does not, see below
	}
	old, err := q.stream.Consumer(ctx, cfg.Durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
	case err != nil:
		return nil, err
	default:
		// Sent and unacknowledged events come again at once if a new consumer begins
		// there. If the process dies in between, the position is lost, and all events
		// of the stream come again. Pages handle this.
		cfg.DeliverPolicy = jetstream.DeliverByStartSequencePolicy
		was := old.CachedInfo()
		cfg.OptStartSeq = max(was.AckFloor.Stream+1, was.Config.OptStartSeq)
		if err := q.stream.DeleteConsumer(ctx, cfg.Durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil, err
		}
	}
	return q.stream.CreateConsumer(ctx, cfg)
}

// alone waits until nobody else of this process takes the user's queue.
func (q *queue) alone(ctx context.Context, user string) (done func(), err error) {
	q.mu.Lock()
	turn := q.taking[user]
	if turn == nil {
		turn = make(chan struct{}, 1)
		q.taking[user] = turn
	}
	q.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// A delivery is of one client: the events sent to it and not yet proven.
type delivery struct {
	mu      sync.Mutex
	pending []jetstream.Msg // in order
	proven  int64           // how many before those
}

// sent takes note of an event before the client is sent it.
func (d *delivery) sent(m jetstream.Msg) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pending = append(d.pending, m)
}

// has records n events as with the client beyond doubt. [bosh.Stream.OnProven] calls
// it. Nothing more is needed: acknowledged events leave the queue's sight.
func (d *delivery) has(n int64) {
	d.mu.Lock()
	done := d.pending[:n-d.proven]
	d.pending, d.proven = d.pending[n-d.proven:], n
	d.mu.Unlock()
	for _, m := range done {
		m.Ack() // one that gets lost is sent again to the next client, which knows it
	}
}

// push sends a user's events to a client, as they come, until one of them has gone.
func (q *queue) push(ctx context.Context, user string, st *bosh.Stream) error {
	consumer, err := q.take(ctx, user)
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(100))
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	var d delivery
	st.OnProven(d.has)
	for {
		m, err := messages.Next()
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("a message without its place in the queue: %w", err)
		}
		element, err := bosh.EncodeJSON(event{ID: meta.Sequence.Stream, Data: m.Data()})
		if err != nil {
			m.Term() // it is no JSON, and never will be
			continue
		}
		d.sent(m)
		if err := st.WriteElement(ctx, element); err != nil {
			return err
		}
	}
}
