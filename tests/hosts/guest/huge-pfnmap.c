/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory of a device in huge leaves; see huge-pfnmap.h.
 */
#include "huge-pfnmap.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "early.h"

#define IVSHMEM   "0x1af41110"
#define PAGE_SIZE 4096UL

static void read_word(const char *directory, const char *name, char *word, size_t size)
{
    char path[512];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    word[0] = 0;
    file = fopen(path, "re");
    if (!file)
        return;
    if (!fgets(word, (int)size, file))
        word[0] = 0;
    word[strcspn(word, "\n")] = 0;
    fclose(file);
}

static int is_card(const char *directory)
{
    char vendor[16], device[16], both[32];

    read_word(directory, "vendor", vendor, sizeof(vendor));
    read_word(directory, "device", device, sizeof(device));
    snprintf(both, sizeof(both), "%s%s", vendor, device[0] ? device + 2 : "");
    return strcmp(both, IVSHMEM) == 0;
}

static int find_card(char *directory, size_t size)
{
    glob_t found = { 0 };
    int there = 0;

    if (glob("/sys/bus/pci/devices/*", 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc && !there; i++)
            if (is_card(found.gl_pathv[i])) {
                snprintf(directory, size, "%s", found.gl_pathv[i]);
                there = 1;
            }
    globfree(&found);
    return there;
}

const char *huge_pfnmap_bind(void)
{
    static char directory[256];
    char path[512];
    const char *card;

    if (!find_card(directory, sizeof(directory)))
        return NULL;
    card = strrchr(directory, '/') + 1;
    snprintf(path, sizeof(path), "%s/driver_override", directory);
    if (early_write_file(path, "vfio-pci") < 0 || early_write_file("/sys/bus/pci/drivers_probe", card) < 0)
        return NULL;
    /* "madvise" is enough for new kernels only. */
    early_write_file("/sys/kernel/mm/transparent_hugepage/enabled", "always");
    snprintf(path, sizeof(path), "/sys/bus/pci/drivers/vfio-pci/%s", card);
    return access(path, F_OK) == 0 ? card : NULL;
}

static int open_group(const char *card)
{
    char path[512], group[512];
    ssize_t length;

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", card);
    length = readlink(path, group, sizeof(group) - 1);
    if (length < 0)
        return -1;
    group[length] = 0;
    snprintf(path, sizeof(path), "/dev/vfio/%.64s", strrchr(group, '/') + 1);
    return open(path, O_RDWR | O_CLOEXEC);
}

static int open_card(const char *card)
{
    int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
    int group = container < 0 ? -1 : open_group(card);

    if (group < 0 || ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) < 0 ||
        ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU) < 0)
        return -1;
    return ioctl(group, VFIO_GROUP_GET_DEVICE_FD, card);
}

/* Room in which the address can be chosen. */
static char *aligned_room(void)
{
    char *room =
        mmap(NULL, 3 * HUGE_PFNMAP_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (room == MAP_FAILED)
        return NULL;
    return (char *)(((uintptr_t)room + HUGE_PFNMAP_SIZE - 1) & ~(HUGE_PFNMAP_SIZE - 1));
}

char *huge_pfnmap_map(const char *card, size_t shift)
{
    struct vfio_region_info bar = { .argsz = sizeof(bar), .index = VFIO_PCI_BAR2_REGION_INDEX };
    int device = open_card(card);
    char *memory, *room;

    if (device < 0 || ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar) < 0)
        return NULL;
    room = aligned_room();
    if (!room)
        return NULL;
    memory = mmap(room + shift, HUGE_PFNMAP_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, device,
                  (off_t)bar.offset);
    if (memory == MAP_FAILED)
        return NULL;
    for (size_t i = 0; i < HUGE_PFNMAP_SIZE; i += PAGE_SIZE)
        __atomic_store_n(memory + i, 1, __ATOMIC_RELAXED);
    return memory;
}
