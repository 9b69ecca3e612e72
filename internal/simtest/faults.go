package simtest

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// A fault is one thing that goes wrong for a while. It returns what it did, for the story of the run.
type fault struct {
	name string
	do   func(c *Cluster, random *rand.Rand) (string, error)
}

// faults are drawn from with equal chance; each leaves a state that the next may worsen.
func faults() []fault {
	return []fault{
		{"crash one", crashOne},
		{"crash one", crashOne},
		{"kill one", killOne},
		{"crash all", crashAll},
		{"restart in order", restartOne},
		{"isolate", isolate},
		{"one way", oneWay},
		{"split", isolate},
		{"slow disk", slowDisk},
		{"failing disk", failingDisk},
		{"hung disk", hungDisk},
		{"drop index", dropIndex},
		{"wipe", wipeOne},
	}
}

func pick(c *Cluster, random *rand.Rand) int32 { return int32(random.IntN(len(c.machines))) + 1 }

func lossy(random *rand.Rand) int { return []int{0, 0, 50, 100}[random.IntN(4)] }

func wait(random *rand.Rand, most time.Duration) {
	time.Sleep(time.Duration(random.Int64N(int64(most))))
}

func crashOne(c *Cluster, random *rand.Rand) (string, error) {
	id, percent := pick(c, random), lossy(random)
	c.Crash(id, random, percent)
	wait(random, 15*time.Second)
	return fmt.Sprintf("node %d lost power, %d %% of the unsynced kept", id, percent), c.Boot(id)
}

func killOne(c *Cluster, random *rand.Rand) (string, error) {
	id := pick(c, random)
	c.Kill(id)
	wait(random, 5*time.Second)
	return fmt.Sprintf("node %d killed", id), c.Boot(id)
}

func crashAll(c *Cluster, random *rand.Rand) (string, error) {
	for _, m := range c.machines {
		c.Crash(m.id, random, lossy(random))
	}
	for _, i := range random.Perm(len(c.machines)) {
		wait(random, 2*time.Second)
		if err := c.Boot(c.machines[i].id); err != nil {
			return "", err
		}
	}
	return "all lost power", nil
}

func restartOne(c *Cluster, random *rand.Rand) (string, error) {
	id := pick(c, random)
	if err := c.Stop(id); err != nil {
		return "", fmt.Errorf("stop node %d: %w", id, err)
	}
	return fmt.Sprintf("node %d restarted", id), c.Boot(id)
}

func isolate(c *Cluster, random *rand.Rand) (string, error) {
	id := pick(c, random)
	for _, m := range c.machines {
		if m.id != id {
			c.Pipes.Block(hostOf(id), hostOf(m.id))
			c.Pipes.Block(hostOf(m.id), hostOf(id))
		}
	}
	wait(random, 20*time.Second)
	c.Pipes.Heal()
	return fmt.Sprintf("node %d was cut off", id), nil
}

func oneWay(c *Cluster, random *rand.Rand) (string, error) {
	from, to := pick(c, random), pick(c, random)
	c.Pipes.Block(hostOf(from), hostOf(to))
	wait(random, 20*time.Second)
	c.Pipes.Heal()
	return fmt.Sprintf("nothing went from %d to %d", from, to), nil
}

func slowDisk(c *Cluster, random *rand.Rand) (string, error) {
	id := pick(c, random)
	by := time.Duration(1+random.IntN(300)) * time.Millisecond
	c.Disk(id).Slow(by)
	wait(random, 20*time.Second)
	c.Disk(id).Slow(0)
	return fmt.Sprintf("node %d synced %v slower", id, by), nil
}

// failingDisk expects the node to end itself; then the disk is replaced by what was synced.
func failingDisk(c *Cluster, random *rand.Rand) (string, error) {
	id := pick(c, random)
	c.Disk(id).Fail()
	return fmt.Sprintf("node %d could not sync", id), awaitDeath(c, id, random)
}

// hungDisk makes a sync take longer than a node may wait.
func hungDisk(c *Cluster, random *rand.Rand) (string, error) {
	id := pick(c, random)
	c.Disk(id).Slow(30 * time.Second)
	return fmt.Sprintf("node %d hung in a sync", id), awaitDeath(c, id, random)
}

// deathWithin is how soon a node must end itself when its disk fails or hangs: it syncs at least that often under load.
const deathWithin = 20 * time.Second

func awaitDeath(c *Cluster, id int32, random *rand.Rand) error {
	if !c.On(id) {
		return nil
	}
	deadline := time.Now().Add(deathWithin)
	for c.Died(id) == nil && time.Now().Before(deadline) {
		time.Sleep(100 * time.Millisecond)
	}
	// Without a leader nothing is written and so nothing fails; that is no fault of the node.
	c.Crash(id, random, 0)
	return c.Boot(id)
}

func dropIndex(c *Cluster, random *rand.Rand) (string, error) {
	id := pick(c, random)
	c.Kill(id)
	if err := c.DropIndex(id); err != nil {
		return "", fmt.Errorf("drop the index of node %d: %w", id, err)
	}
	return fmt.Sprintf("node %d lost its index", id), c.Boot(id)
}

// wipeOne replaces a whole disk. That uses up the one loss that three nodes can bear, so all must be well before and after.
func wipeOne(c *Cluster, random *rand.Rand) (string, error) {
	if err := c.Settle(); err != nil {
		return "", fmt.Errorf("before the wipe: %w", err)
	}
	id := pick(c, random)
	c.Kill(id)
	c.Wipe(id)
	if err := c.Boot(id); err != nil {
		return "", err
	}
	if err := c.AwaitReady(settleWithin); err != nil {
		return "", fmt.Errorf("after node %d was wiped: %w", id, err)
	}
	return fmt.Sprintf("node %d came back with an empty disk", id), nil
}
