package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stela-db/stela/internal/process"
)

// debianFolders is where Debian has the programs, by major version.
const debianFolders = "/usr/lib/postgresql/*/bin"

// settings are what differs from the defaults of PostgreSQL, all in its favour: memory as
// each of Kafka's brokers has, and no checkpoint because the log is full.
// synchronous_commit is on by default; it is here because the comparison rests on it.
var settings = []string{
	"listen_addresses=" + host, "unix_socket_directories=", "synchronous_commit=on", "fsync=on",
	"shared_buffers=1GB", "max_wal_size=8GB",
}

const (
	createTable = `create table if not exists events (
	stream text not null, version bigint not null, data bytea not null,
	primary key (stream, version))`
	insertEvent = `insert into events (stream, version, data) values ($1, $2, $3) on conflict do nothing`
	// readEvents has no order: it comes nearly in that of the appends, and is the fastest that
	// there is. By stream and version it takes two to three times as long.
	readEvents = `select stream, version, data from events`
)

// postgres is one server with a table of events.
type postgres struct {
	bin string // the folder of its programs

	servers  servers
	pool     *pgxpool.Pool
	versions []atomic.Int64 // by event stream: the next event's
}

// version implements peer.
func (s *postgres) version(ctx context.Context) (string, error) {
	if s.bin == "" {
		found, err := findPostgres()
		if err != nil {
			return "", err
		}
		s.bin = found
	}
	out, err := exec.CommandContext(ctx, filepath.Join(s.bin, "postgres"), "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask PostgreSQL in %s for its version: %w", s.bin, err)
	}
	fields := strings.Fields(string(out)) // postgres (PostgreSQL) 15.18 (Debian ...)
	if len(fields) < 3 {
		return "", fmt.Errorf("PostgreSQL in %s calls its version %q", s.bin, out)
	}
	return fields[2], nil
}

// findPostgres returns the folder with initdb and postgres: the newest of Debian's, or PATH's.
func findPostgres() (string, error) {
	folders, err := filepath.Glob(debianFolders)
	if err != nil {
		return "", fmt.Errorf("look for PostgreSQL: %w", err)
	}
	slices.SortFunc(folders, func(a, b string) int { return major(b) - major(a) })
	for _, folder := range folders {
		if _, err := os.Stat(filepath.Join(folder, "initdb")); err == nil {
			return folder, nil
		}
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", errors.New("PostgreSQL's server is not installed: apt-get install postgresql, or --bin FOLDER")
	}
	return filepath.Dir(path), nil
}

// major returns the version in the path of a folder of Debian's, 0 for none.
func major(folder string) int {
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(folder)))
	if err != nil {
		return 0
	}
	return n
}

// start implements peer.
func (s *postgres) start(ctx context.Context, dir string, w workload) error {
	if w.ID != stream {
		return fmt.Errorf("PostgreSQL is not measured with %s, only with %s", w.ID, stream)
	}
	s.versions = make([]atomic.Int64, w.Keys)
	if err := s.servers.open(dir); err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	owner, err := ownFolder(data)
	if err != nil {
		return err
	}
	if err := s.initialize(ctx, data, owner); err != nil {
		return err
	}
	port, err := process.FreePorts(host, firstPort, 1)
	if err != nil {
		return err
	}
	args := []string{"-D", data, "-p", strconv.Itoa(port)}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	err = s.servers.start(process.Config{Path: filepath.Join(s.bin, "postgres"), Args: args, Dir: data, Credential: owner})
	if err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(fmt.Sprintf("postgres://bench@%s:%d/postgres?sslmode=disable", host, port))
	if err != nil {
		return fmt.Errorf("configure the connection: %w", err)
	}
	config.MaxConns, config.MinConns = int32(w.Clients), int32(w.Clients)
	s.pool, err = pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	return s.servers.await(ctx, "create a table in PostgreSQL", func(ctx context.Context) error {
		_, err := s.pool.Exec(ctx, createTable)
		return err
	})
}

// initialize makes the database's folder.
func (s *postgres) initialize(ctx context.Context, data string, owner *syscall.Credential) error {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"), "-D", data, "-U", "bench", "-A", "trust", "--locale=C", "--encoding=UTF8")
	cmd.Dir = data
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run initdb in %s: %w\n%s", data, err, out)
	}
	return nil
}

// ownFolder makes a folder for PostgreSQL's data. As PostgreSQL refuses to run as root, root
// gives it to another user, who is returned and must be able to come there.
func ownFolder(data string) (*syscall.Credential, error) {
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, fmt.Errorf("make PostgreSQL's folder: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil, nil
	}
	var owner *user.User
	var err error
	for _, name := range []string{"postgres", "nobody"} {
		if owner, err = user.Lookup(name); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("find a user to run PostgreSQL as, which refuses to be root: %w", err)
	}
	uid, uidErr := strconv.ParseUint(owner.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(owner.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, fmt.Errorf("read the ids of user %s: %w", owner.Username, err)
	}
	if err := os.Chown(data, int(uid), int(gid)); err != nil {
		return nil, fmt.Errorf("give PostgreSQL's folder to user %s: %w", owner.Username, err)
	}
	absolute, err := filepath.Abs(data)
	if err != nil {
		return nil, fmt.Errorf("find PostgreSQL's folder: %w", err)
	}
	for parent := filepath.Dir(absolute); parent != filepath.Dir(parent); parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err != nil {
			return nil, fmt.Errorf("look at a folder on the way to PostgreSQL's: %w", err)
		}
		if info.Mode()&0o001 == 0 {
			return nil, fmt.Errorf("PostgreSQL refuses to be root and runs as user %s, who may not enter %s: use a folder below one that all may enter, such as /tmp", owner.Username, parent)
		}
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// processes implements peer.
func (s *postgres) processes() []int { return s.servers.processes() }

// stop implements peer.
func (s *postgres) stop() {
	if s.pool != nil {
		s.pool.Close()
	}
	s.servers.stop(syscall.SIGINT) // what PostgreSQL calls fast: it waits for no client
}

// store implements peer.
func (s *postgres) store(ctx context.Context, to int, value []byte) (conflict bool, err error) {
	version := s.versions[to].Load()
	done, err := s.pool.Exec(ctx, insertEvent, "stream-"+strconv.Itoa(to), version, value)
	if err != nil {
		return false, fmt.Errorf("append version %d to stream %d: %w", version, to, err)
	}
	if done.RowsAffected() == 0 {
		return true, nil
	}
	s.versions[to].Store(version + 1) // Nobody else had this version, so nobody else stores the next.
	return false, nil
}

// replay implements peer. The rows are looked at as they came, not decoded.
func (s *postgres) replay(ctx context.Context) (events, bytes int64, err error) {
	rows, err := s.pool.Query(ctx, readEvents)
	if err != nil {
		return 0, 0, fmt.Errorf("read all events: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		events++
		bytes += int64(len(rows.RawValues()[2]))
	}
	if err := rows.Err(); err != nil {
		return events, bytes, fmt.Errorf("read after %d events: %w", events, err)
	}
	return events, bytes, nil
}
