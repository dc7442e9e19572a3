#include "base/metrics.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Fields of /proc/self/stat, counted from 1 as in proc(5). */
enum stat_field {
    STAT_STATE = 3,
    STAT_THREADS = 20,
    STAT_START_TICKS = 22,
    STAT_RESIDENT_PAGES = 24
};

struct process {
    double cpu_seconds, resident_bytes, threads, open_files, start_seconds;
};

static double cpu_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Finds the line that starts with name and leaves what follows it in line. */
static bool find_line(const char *path, const char *name, char *line, int room)
{
    FILE *file = fopen(path, "re");
    size_t size = strlen(name);
    bool found = false;

    if (!file)
        return false;
    while (!found && fgets(line, room, file))
        found = strncmp(line, name, size) == 0;
    fclose(file);
    if (found)
        memmove(line, line + size, strlen(line + size) + 1);
    return found;
}

/* The fields come after the program's name in parentheses, which may hold anything. */
static double stat_number(const char *stat, enum stat_field wanted)
{
    const char *at = strrchr(stat, ')');

    for (int field = STAT_STATE - 1; at && field < (int)wanted; field++)
        at = strchr(at + 1, ' ');
    return at ? strtod(at, NULL) : 0;
}

static double count_open_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    const struct dirent *entry;
    double count = -1; /* the folder itself is open while it is read */

    if (!folder)
        return 0;
    while ((entry = readdir(folder)))
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

static void read_process(struct process *out)
{
    char line[1024];

    *out = (struct process){.cpu_seconds = cpu_seconds(), .open_files = count_open_files()};
    if (find_line("/proc/self/stat", "", line, sizeof(line))) {
        out->threads = stat_number(line, STAT_THREADS);
        out->resident_bytes =
            stat_number(line, STAT_RESIDENT_PAGES) * (double)sysconf(_SC_PAGESIZE);
        out->start_seconds = stat_number(line, STAT_START_TICKS) / (double)sysconf(_SC_CLK_TCK);
    }
    if (find_line("/proc/stat", "btime ", line, sizeof(line)))
        out->start_seconds += strtod(line, NULL);
}

static const struct row {
    struct metrics_description description;
    size_t offset;
} rows[] = {
    {{.kind = METRICS_COUNTER,
      .name = "process_cpu_seconds_total",
      .help = "User and system time spent."},
     offsetof(struct process, cpu_seconds)},
    {{.kind = METRICS_GAUGE, .name = "process_resident_memory_bytes", .help = "Resident memory."},
     offsetof(struct process, resident_bytes)},
    {{.kind = METRICS_GAUGE,
      .name = "process_working_set_bytes",
      .help = "Resident memory, under its older name."},
     offsetof(struct process, resident_bytes)},
    {{.kind = METRICS_GAUGE, .name = "process_num_threads", .help = "Threads."},
     offsetof(struct process, threads)},
    {{.kind = METRICS_GAUGE, .name = "process_open_fds", .help = "Open file descriptors."},
     offsetof(struct process, open_files)},
    {{.kind = METRICS_GAUGE,
      .name = "process_start_time_seconds",
      .help = "When the process started, since the epoch."},
     offsetof(struct process, start_seconds)},
};

static void collect(void *context)
{
    struct metrics *metrics = context;
    struct process process;

    read_process(&process);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct metrics_family *family = metrics_family(metrics, &rows[i].description);
        const double *value = (const void *)((const char *)&process + rows[i].offset);
        metrics_set(metrics_cell(family, NULL), *value);
    }
}

void metrics_process(struct metrics *metrics)
{
    metrics_on_render(metrics, collect, metrics);
}
