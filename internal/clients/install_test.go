package clients

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// cacheDir holds what was installed for these tests; it is made again when missing.
func cacheDir(t *testing.T, name string) string {
	t.Helper()
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	dir := filepath.Join(base, "stela-clients", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// debian installs a package where apt-get is there and may be used.
func debian(t *testing.T, name string) error {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return errors.New("installing needs root: apt-get install " + name)
	}
	env := []string{"DEBIAN_FRONTEND=noninteractive"}
	if out, err := try(t, env, "", "apt-get", "install", "-y", "--no-install-recommends", name); err == nil {
		return nil
	} else if updated, err := try(t, env, "", "apt-get", "update"); err != nil {
		return fmt.Errorf("apt-get update: %w\n%s%s", err, out, updated)
	}
	if out, err := try(t, env, "", "apt-get", "install", "-y", "--no-install-recommends", name); err != nil {
		return fmt.Errorf("apt-get install %s: %w\n%s", name, err, out)
	}
	return nil
}

// kcat returns the path of kcat, installed if need be.
func kcat(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("kcat")
	if err == nil {
		return path
	}
	if err := debian(t, "kcat"); err != nil {
		missing(t, "kcat", err)
	}
	if path, err = exec.LookPath("kcat"); err != nil {
		missing(t, "kcat", err)
	}
	return path
}

// kafkajs returns a folder with this module's scripts and their packages.
func kafkajs(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, "kafkajs", err)
		}
	}
	dir := cacheDir(t, "kafkajs")
	scripts, err := filepath.Glob("kafkajs/*.*")
	if err != nil {
		t.Fatal(err)
	}
	fresh := true
	for _, path := range append(scripts, "../../cmd/stela/snippet/order.mjs") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(dir, filepath.Base(path))
		if filepath.Base(path) == "package-lock.json" {
			old, err := os.ReadFile(target)
			fresh = err != nil || string(old) != string(text)
		}
		if err := os.WriteFile(target, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "kafkajs", "package.json")); err != nil || fresh {
		if out, err := try(t, nil, "", "npm", "ci", "--prefix", dir, "--no-audit", "--no-fund"); err != nil {
			os.RemoveAll(filepath.Join(dir, "package-lock.json"))
			missing(t, "kafkajs", fmt.Errorf("npm ci: %w\n%s", err, out))
		}
	}
	return dir
}

// librdkafka returns a Python with confluent-kafka: PyPI's in a virtual
// environment, or else Debian's.
func librdkafka(t *testing.T) string {
	t.Helper()
	dir := cacheDir(t, "librdkafka")
	python := filepath.Join(dir, "bin", "python3")
	works := func(python string) bool {
		_, err := try(t, nil, "", python, "-c", "import confluent_kafka.admin")
		return err == nil
	}
	if works(python) {
		return python
	}
	var out string
	err := exec.ErrNotFound
	for _, base := range []string{"python3", "/usr/bin/python3"} {
		if out, err = try(t, nil, "", base, "-m", "venv", "--clear", dir); err != nil {
			continue
		}
		if out, err = try(t, nil, "", python, "-m", "pip", "install", "-q", "-r", "librdkafka/requirements.txt"); err == nil && works(python) {
			return python
		}
	}
	if works("/usr/bin/python3") {
		return "/usr/bin/python3"
	}
	if debianErr := debian(t, "python3-confluent-kafka"); debianErr != nil || !works("/usr/bin/python3") {
		missing(t, "confluent-kafka", fmt.Errorf("pip and apt: %w\n%s", errors.Join(err, debianErr), out))
	}
	return "/usr/bin/python3"
}
