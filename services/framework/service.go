package framework

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/state"
	"github.com/stela-db/stela/services/web"
)

// ErrNotReady says that a service has not caught up with its own topic yet, or is
// stopping.
var ErrNotReady = errors.New("service is not ready")

// errSwitch ends a session whose rebuilt database is to take over.
var errSwitch = errors.New("a rebuilt database takes over")

// Config says where a service runs. It is the same for all services of a process but
// for State and Address.
type Config struct {
	// Client is the way to the log. The service does not close it.
	Client *client.Client
	// Topics are created at the start when they do not exist.
	Topics []client.Topic
	// State is where the private database lives.
	State state.Config
	// Address is where the service's HTTP listens, "host:port".
	Address string
	// Listen opens the listener. Default: TCP.
	Listen func(address string) (net.Listener, error)
	// First are commands that are decided at every start, before the inputs and before
	// the service is ready. Their ids make them count once.
	First []event.Recorded
	// Now is the clock that events are stamped with. Default: time.Now.
	Now func() time.Time
	// Logger gets what happens. Default: nothing is logged.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Listen == nil {
		c.Listen = func(address string) (net.Listener, error) { return net.Listen("tcp", address) }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// A Service runs one definition. Make it, add routes, Run it.
type Service struct {
	definition Definition
	config     Config
	web        *web.Server
	counts     counts
	started    time.Time

	mu      sync.RWMutex // guards session against being replaced while it is read from
	session *session

	rebuild rebuildStatus
}

// New returns a service. Its operations routes are there; the caller adds its own.
func New(definition Definition, config Config) *Service {
	s := &Service{definition: definition, config: config.withDefaults()}
	s.web = web.NewServer("stela-"+definition.Name, s.config.Logger)
	s.handleOperations()
	return s
}

// Handle adds a route to the service's HTTP. Before Run.
func (s *Service) Handle(method, path string, handler web.Handler) {
	s.web.Handle(method, path, handler)
}

// Routes returns the routes of the service's HTTP.
func (s *Service) Routes() []string { return s.web.Routes() }

// Run works until ctx ends, then returns nil, or until the service cannot go on.
func (s *Service) Run(ctx context.Context) error {
	listener, err := s.config.Listen(s.config.Address)
	if err != nil {
		return fmt.Errorf("%s: listen on %s: %w", s.definition.Name, s.config.Address, err)
	}
	served := make(chan error, 1)
	go func() { served <- s.web.Serve(listener) }() // ends with web.Close below
	s.started = s.config.Now()
	err = s.sessions(ctx)
	closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(err, s.web.Close(closing), <-served)
}

func (s *Service) sessions(ctx context.Context) error {
	for {
		err := s.runSession(ctx)
		if !errors.Is(err, errSwitch) {
			return err
		}
		if err := s.takeOver(err); err != nil {
			return fmt.Errorf("%s: %w", s.definition.Name, err)
		}
		s.config.Logger.Info("rebuilt state took over", "service", s.definition.Name)
	}
}

func (s *Service) runSession(outer context.Context) error {
	// A database that cannot be written ends the session at once.
	ctx, cancel := context.WithCancelCause(outer)
	defer cancel(nil)
	config := s.config.State
	config.Fatal = func(err error) {
		cancel(err)
		if s.config.State.Fatal != nil {
			s.config.State.Fatal(err)
		}
	}
	database, err := state.Open(config)
	if err != nil {
		return fmt.Errorf("%s: %w", s.definition.Name, err)
	}
	current := s.newSession(database)
	s.replace(current)
	if err = EnsureTopics(ctx, s.config.Client, s.config.Topics, s.config.Logger); err == nil {
		err = current.run(ctx)
	} else {
		err = fmt.Errorf("%s: %w", s.definition.Name, err)
	}
	s.replace(nil)
	if ctx.Err() != nil && outer.Err() == nil {
		return context.Cause(ctx) // Pebble gave up: closing it may never end
	}
	return errors.Join(err, database.Close())
}

func (s *Service) newSession(database *state.Database) *session {
	tx := database.Begin()
	defer tx.Discard()
	current := &session{
		definition: &s.definition, client: s.config.Client, core: NewCore(s.definition, database),
		logger: s.config.Logger, now: s.config.Now, counts: &s.counts,
		first: s.config.First, log: watch{answered: s.config.Now()},
		folded: newPosition(tx.Folded()), inputs: newTracker(tx.Inputs()), slots: make(chan struct{}, maxOpenInputs),
	}
	for _, effect := range s.definition.Effects {
		current.workers = append(current.workers, newWorker(current, effect))
	}
	return current
}

// replace waits for readers and puts another session in place.
func (s *Service) replace(current *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = current
}

// EnsureTopics creates the topics that do not exist; it goes on trying while the log is
// away, until ctx ends. An error says that one is there that can never be what it should.
func EnsureTopics(ctx context.Context, log *client.Client, topics []client.Topic, logger *slog.Logger) error {
	for {
		err := log.CreateTopics(ctx, topics...)
		if err == nil || ctx.Err() != nil {
			return nil //nolint:nilerr // whoever ended ctx knows
		}
		if _, plain := errors.AsType[*client.PlainTopicError](err); plain {
			return err
		}
		logger.Warn("topics cannot be created yet", "err", err)
		if sleep(ctx, 4*retryPause) != nil {
			return nil //nolint:nilerr // likewise
		}
	}
}

// Read gives read access to the state as of now. visit must be quick: a rebuilt
// database cannot take over meanwhile.
func (s *Service) Read(visit func(tx *state.Tx) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.session == nil {
		return ErrNotReady
	}
	tx := s.session.core.Database().Begin()
	defer tx.Discard()
	if err := visit(tx); err != nil {
		return err
	}
	return tx.Err()
}

// Command decides on an input that does not come from a topic, and returns when what
// follows from it is in the log and in the state. in.ID identifies the command: the
// same id has the same effect once.
func (s *Service) Command(ctx context.Context, in event.Recorded) (Result, error) {
	s.mu.RLock()
	current := s.session
	s.mu.RUnlock()
	if current == nil {
		return Result{}, ErrNotReady
	}
	return current.command(ctx, s.definition.Stream(in), in)
}

// Await returns when the state satisfies enough, which is asked again whenever
// something was folded.
func (s *Service) Await(ctx context.Context, enough func(tx *state.Tx) (bool, error)) error {
	for {
		s.mu.RLock()
		current := s.session
		s.mu.RUnlock()
		if current == nil {
			return ErrNotReady
		}
		_, changed := current.folded.now()
		var done bool
		err := s.Read(func(tx *state.Tx) (err error) {
			done, err = enough(tx)
			return err
		})
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// Ready returns nil while the service has caught up and the log answers, else what it is doing.
func (s *Service) Ready() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.session == nil:
		return ErrNotReady
	case !s.session.ready.Load():
		cut, _ := s.session.folded.now()
		return fmt.Errorf("%w: folded %d of %d events", ErrNotReady, cut.Events(), s.session.target.Load())
	}
	folded, _ := s.session.folded.now()
	return s.session.log.check(s.session.now(), folded)
}
